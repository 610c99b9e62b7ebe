"""Runs the suites of Optuna's source distribution, unchanged, on a store. They are in no wheel, so they are downloaded.

    python tests/integrations/optuna/own_suites.py                  what takes minutes
    python tests/integrations/optuna/own_suites.py --whole          all that has to do with storage: an hour or two
    python tests/integrations/optuna/own_suites.py study trial      these alone

They are those of the release that is installed. TRIALSTORE_OPTUNA_SDISTS says where downloads are kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


@dataclass(frozen=True)
class Suite:
    """Some of Optuna's tests.

    Attributes:
        paths: Files and folders below ``tests``.
        chosen: What ``-k`` takes when not the whole suite is asked for.
        deselected: Tests that say nothing of a storage of another kind, each with the reason.
    """

    paths: tuple[str, ...]
    chosen: str = ""
    deselected: dict[str, str] = field(default_factory=dict)


STORAGES, CLI = "tests/storages_tests/test_storages.py::", "tests/test_cli.py::"
QMC = "tests/samplers_tests/test_qmc.py::test_infer_relative_search_space"
ARTIFACTS = ("backoff", "download_artifact", "filesystem", "list_artifact_meta", "upload_artifact")

WITHOUT_TORCH = (
    "--ignore=tests/samplers_tests/test_gp.py",
    "--deselect=tests/samplers_tests/test_partial_fixed.py::test_fixed_sampling[<lambda>5]",
    "--deselect=tests/samplers_tests/test_partial_fixed.py::test_fixed_sampling[<lambda>6]",
    "--deselect=tests/samplers_tests/test_samplers.py::TestBasicSampler::test_partial_fixed_sampling[<lambda>4]",
    "--deselect=tests/samplers_tests/test_samplers.py::TestBasicSampler::test_partial_fixed_sampling[<lambda>5]",
)
"""What GPSampler is tested with, where PyTorch is not installed."""

SUITES = {
    "storages": Suite(
        ("storages_tests/test_storages.py", "storages_tests/test_callbacks.py", "storages_tests/test_grpc.py"),
        deselected={
            f"{STORAGES}test_get_trials_included_trial_ids": "calls RDBStorage._get_trials, which no other storage has",
            f"{STORAGES}test_get_trials_trial_id_greater_than": "the same",
            f"{STORAGES}test_get_storage": "demands InMemoryStorage and _CachedStorage by name",
        },
    ),
    "heartbeat": Suite(("storages_tests/test_heartbeat.py",)),
    "server": Suite(("storages_tests/test_with_server.py",)),
    "callbacks": Suite(("test_callbacks.py", "test_multi_objective.py")),
    "study": Suite(("study_tests",)),
    "trial": Suite(
        ("trial_tests", "search_space_tests"),
        deselected={
            "tests/search_space_tests/test_intersection.py::test_intersection_search_space": "its attributes are no "
            "JSON; Optuna's databases and journals refuse them too, and it asks for no storage",
        },
    ),
    "samplers": Suite(
        ("samplers_tests",),
        "test_grid or test_brute_force or test_partial_fixed or test_base_gasampler or test_nsgaiii",
        deselected={
            f"{QMC}{name}": "wants a trial that the study has cached to change; those of RDBStorage do not either"
            for name in ("", "_with_suggested_running[1]", "_with_ask_fixed", "_dynamic_warning")
        },
    ),
    "pruners": Suite(("pruners_tests",), "hyperband or successive"),
    "artifacts": Suite(
        # The others are those of Optuna's own stores of artifacts, on S3 and on Google Cloud.
        tuple(f"artifacts_tests/test_{name}.py" for name in ARTIFACTS),
        deselected={
            "tests/artifacts_tests/test_backoff.py::test_backoff_time": "a store that always fails, and no other",
        },
    ),
    "importance": Suite(("importance_tests",), "evaluators or get_param_importance"),
    "terminator": Suite(("terminator_tests",), "callback or median"),
    "visualization": Suite(("visualization_tests",), "intermediate or history or timeline or pareto"),
    "cli": Suite(
        ("test_cli.py",),
        "study_command or ask or tell",
        deselected={
            f"{CLI}test_get_storage_with{which}_storage_class": "calls `_get_storage`, for classes of Optuna"
            for which in ("", "out")
        }
        | {
            f"{CLI}test_storage_upgrade_command": "upgrades RDBStorage's tables",
            f"{CLI}test_configure_logging_verbosity[--verbose-True]": "wants a line that says 'created in Journal'",
        },
    ),
}
"""Not among them: rdb_tests, journal_tests and test_cached_storage.py, which test the inside of other storages."""


def sources() -> Path:
    """The tests of the installed Optuna, as they were released."""
    import optuna

    version = optuna.__version__
    folder = Path(
        os.environ.get("TRIALSTORE_OPTUNA_SDISTS") or Path(tempfile.gettempdir()) / "trialstore-optuna-sdists"
    )
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"optuna-{version}.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "optuna"]
        subprocess.run([*command, "--dest", str(folder), f"optuna=={version}"], check=True)
    unpacked = folder / f"optuna-{version}-tests"
    if not unpacked.exists():
        with tarfile.open(archive) as packed, tempfile.TemporaryDirectory(dir=folder) as temporary:
            top = f"optuna-{version}/"
            wanted = [m for m in packed.getmembers() if m.name.startswith((f"{top}tests/", f"{top}pyproject.toml"))]
            packed.extractall(temporary, wanted, filter="data")
            try:
                # without the package beside it: the installed one is tested
                (Path(temporary) / top).rename(unpacked)
            except OSError:
                if not unpacked.exists():  # else another process was first
                    raise
    return unpacked


@dataclass(frozen=True)
class Ran:
    """How a suite ended: tests by outcome, storages that were handed out, and all that was printed."""

    ends: dict[str, int]
    storages: int
    text: str


def run(name: str, *more: str, whole: bool = False, workers: int = 2, **environment: str) -> Ran:
    """Run one suite."""
    suite = SUITES[name]
    chosen = ["-k", suite.chosen] if suite.chosen and not whole else []
    if importlib.util.find_spec("torch") is None:
        chosen += WITHOUT_TORCH
    parallel = ["-n", str(workers)] if workers > 1 and name != "server" else ["-p", "no:xdist"]
    with tempfile.TemporaryDirectory(prefix="trialstore-optuna-") as temporary:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "suite_mode",
                "-p",
                "no:cacheprovider",
                *parallel,
                "--color=no",
            ]
            + [f"tests/{path}" for path in suite.paths]
            + [f"--deselect={node}" for node in suite.deselected]
            + [*chosen, *more],
            cwd=sources(),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
                "TMPDIR": temporary,
                "TRIALSTORE_OPTUNA_COUNTS": temporary,
                "TRIALSTORE_OPTUNA_SERVER": f"{temporary}/server",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        handed_out = sum(int(file.read_text()) for file in Path(temporary).iterdir() if file.name.isdecimal())
    text = done.stdout + done.stderr
    ends = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed)\b", text)}
    return Ran(ends, handed_out, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--whole", action="store_true", help="all tests of each")
    parser.add_argument("-n", "--workers", type=int, default=2)
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.suites or SUITES:
        ran = run(name, whole=arguments.whole, workers=arguments.workers)
        print(f"{name}: {ran.ends}, {ran.storages} storages", flush=True)
        if ran.ends.keys() & {"failed", "error", "errors"} or not ran.ends.get("passed"):
            print(ran.text)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
