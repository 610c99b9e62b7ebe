"""Runs Oríon's own tests, from the source of its release, with a store behind every database that they ask for.

    python -m tests.integrations.orion.suites SOURCE [pytest's arguments …]

SOURCE is the unpacked source of orion 0.2.7 (`pip download orion==0.2.7 --no-binary :all: --no-deps`). Without
arguments all suites that use a storage run, which takes hours on two cores: many start Oríon for every trial. With
``TRIALSTORE_SWAP=broken`` they must fail. The nodes that are left out stand below, each with its reason. Some ask for
an algorithm that the source has: ``pip install --no-deps SOURCE/tests/functional/gradient_descent_algo``, and for
images of plots: ``pip install "plotly<6" "kaleido==0.2.1"``, the last release with a browser in it. Not named below are
`tests/functional/storage`, which measures the traffic of a MongoDB server, `tests/functional/backward_compatibility`,
which installs old releases, and what uses no storage.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SWAPPED = Path(__file__).resolve().parent / "swapped"

SUITES = [
    "tests/unittests/storage",
    "tests/unittests/client",
    "tests/unittests/core/worker",
    "tests/unittests/core/io",
    "tests/unittests/core/cli",
    "tests/unittests/core/evc",
    "tests/unittests/core/test_branch_config.py",
    "tests/unittests/core/test_insert.py",
    "tests/unittests/benchmark",
    "tests/unittests/analysis",
    "tests/unittests/plotting",
    "tests/functional/commands",
    "tests/functional/serving",
    "tests/functional/client",
    "tests/functional/branching",
    "tests/functional/configuration",
    "tests/functional/core",
    "tests/functional/demo",
    "tests/functional/algos",
    "tests/functional/benchmark",
    "tests/functional/example",
    "tests/functional/parsing",
]

REFERENCE = "asks whether the storage is of the reference's class"
PROMPT = "unittests/core/io/interactive_commands/test_branching_prompt.py::TestCommands::"
BUILDER = "unittests/core/io/test_experiment_builder.py::"
BROWSER = "needs a browser, to show pages"
FILE = "copies the file of the reference's database"
OPTIONS = "functional/configuration/test_all_options.py::"
RANKING = "unittests/analysis/test_base.py::TestRanking::"
PEER = "fails with Oríon's own database as well, with current NumPy, Python or pytest"

EXCLUDED = {
    "unittests/storage/test_legacy.py::test_setup_database_default": REFERENCE,
    "unittests/storage/test_legacy.py::test_setup_database_custom": REFERENCE,
    "unittests/storage/test_legacy.py::test_setup_database_bad_override": REFERENCE,
    "unittests/storage/test_legacy.py::test_setup_database_bad_config_override": REFERENCE,
    "unittests/storage/test_legacy.py::test_get_database": REFERENCE,
    "unittests/storage/test_storage.py::test_setup_storage_default": REFERENCE,
    "unittests/storage/test_storage.py::test_setup_storage_custom": REFERENCE,
    "unittests/storage/test_storage.py::test_setup_storage_custom_type_missing": REFERENCE,
    "unittests/storage/test_storage.py::test_setup_storage_custom_legacy_emtpy": REFERENCE,
    "unittests/storage/test_storage.py::test_setup_storage_bad_override": REFERENCE,
    "unittests/client/test_client.py::TestCreateExperiment::test_create_experiment_no_storage": REFERENCE,
    "unittests/client/test_client.py::TestCreateExperiment::test_create_experiment_debug_mode": REFERENCE,
    "unittests/client/test_client.py::TestWorkon::test_workon": REFERENCE,
    BUILDER + "test_build_from_args_debug_mode": REFERENCE,
    BUILDER + "test_get_from_args_debug_mode": REFERENCE,
    "unittests/core/cli/test_checks.py::test_creation_fails": REFERENCE + ", and patches it",
    PROMPT + "test_add_dim_with_bad_default": PEER,
    PROMPT + "test_remove_dim_with_bad_default": PEER,
    BUILDER + "TestStrategyDeprecated::test_strategy_defined_in_global_config": PEER,
    "unittests/core/worker/algo_wrappers/test_transform.py::TestSpaceTransformWrapper::test_verify_trial": PEER,
    "unittests/core/worker/warm_start/test_multi_task.py::TestMultiTaskWrapper::test_collisions[2]": PEER,
    "unittests/client/test_experiment_client.py::TestSuggest::test_suggest_algo_opt_out": PEER,
    "unittests/core/io/test_resolve_config.py::test_infer_version_on_invalid_head": PEER,
    "unittests/core/evc/test_conflicts.py": PEER + ": it does not load",
    "unittests/core/evc/test_resolutions.py": PEER + ": it does not load",
    "functional/serving/test_root.py::test_runtime_summary": REFERENCE,
    "unittests/client/test_runner.py::test_runner_inside_process": PEER,
    "unittests/client/test_runner.py::test_runner_inside_thread": PEER,
    **{
        f"{OPTIONS}{name}::test_{where}_config": REFERENCE
        for name in ("TestStorage", "TestDatabaseDeprecated")
        for where in ("global", "env_var", "local")
    },
    **{f"{OPTIONS}TestEVCConfig::test_{where}_config": FILE for where in ("global", "env_var", "local", "cmd_args")},
    **{
        f"{RANKING}test_{name}": PEER
        for name in ("parameter_not_modified", "ranking", "unbalanced_groups", "custom_group_by", "custom_key")
    },
    "functional/demo/test_demo.py::test_demo_with_shutdown_quickly": PEER,
    "functional/serving/test_frontend.py": BROWSER,
}


def run(source: Path, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run suites; their output is in what comes back."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "source", "orion")  # some tests come back to a folder of this name
        work.mkdir(parents=True)
        scratch = Path(folder, "scratch")  # one test deletes the folder `orion` of this one
        scratch.mkdir()
        for part in ("tests", "examples"):
            shutil.copytree(source / part, work / part)
        out: list[str] = []
        for node in EXCLUDED:
            out += ["--deselect" if "::" in node else "--ignore", f"tests/{node}"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(SWAPPED), os.environ.get("PYTHONPATH")])),
            "PATH": path,  # the tests call `orion`
            "HOME": str(home or folder),
            "TMPDIR": str(scratch),
        }
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore",
            "-rfE",
        ]
        return subprocess.run(
            [*command, *out, *(arguments or SUITES)],
            cwd=work,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )


if __name__ == "__main__":
    done = run(Path(sys.argv[1]), *sys.argv[2:])
    sys.stdout.write(done.stdout)
    sys.exit(done.returncode)
