"""What `import trialstore` offers: exactly these names, each of which is there, at no cost until it is used."""

from __future__ import annotations

import subprocess
import sys

import trialstore as ts

# One a line, so that a name more is a line more.
NAMES = [
    "Artifact",
    "Branching",
    "Bucket",
    "Categorical",
    "Comparison",
    "Dimension",
    "Experiment",
    "ExperimentStats",
    "Fidelity",
    "History",
    "Integer",
    "Metric",
    "MetricValue",
    "Observation",
    "Options",
    "Profile",
    "Real",
    "Report",
    "Result",
    "Runner",
    "Snapshot",
    "SnapshotDiff",
    "Space",
    "Status",
    "Store",
    "Stored",
    "Trial",
    "TrialStoreError",
    "__version__",
    "errors",
    "open",
]


def test_the_names_are_these() -> None:
    assert ts.__all__ == sorted(NAMES)
    assert dir(ts) == ts.__all__


def test_every_name_is_there_and_documented() -> None:
    for name in NAMES:
        value = getattr(ts, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name


def test_importing_the_package_loads_none_of_the_engines() -> None:
    program = "import sys, trialstore; print(*{'pyarrow', 'polars', 'duckdb', 'fsspec', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
