"""Experiments whose results warm up the optimizer of another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlos_bench.tunables.tunable_groups import TunableGroups

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.life import ended_records
from trialstore.integrations.mlos_bench.values import texts
from trialstore.model.errors import ExperimentNotFoundError, StaleRevisionError
from trialstore.model.record import TrialRecord
from trialstore.store import Store

__all__ = ["merge", "merged", "merged_rows"]

_DOCUMENT = "mlos_bench.merged"


def merged(experiment: Experiment) -> list[str]:
    """The names of the experiments that were merged, in order."""
    _, names = experiment.document(_DOCUMENT)
    return list(names or ())


def merge(store: Store, experiment: Experiment, names: Sequence[str]) -> None:
    """Remember further experiments; see `TrialStoreExperiment.merge`."""
    for name in names:
        if name == experiment.name:
            raise ValueError(f"experiment {name!r} cannot be merged into itself")
        try:
            other = store.experiment(name)
        except ExperimentNotFoundError as error:
            raise ValueError(f"experiment {name!r} cannot be merged: it is not in the store") from error
        ways = {metric.name: metric.minimize for metric in other.declared_metrics}
        missing = [m.name for m in experiment.declared_metrics if ways.get(m.name) is not m.minimize]
        if missing:
            raise ValueError(f"experiment {name!r} cannot be merged: it has not the objectives {', '.join(missing)}")
    while True:
        revision, known = experiment.document(_DOCUMENT)
        try:
            experiment.set_document(_DOCUMENT, list(dict.fromkeys([*(known or ()), *names])), revision=revision)
        except StaleRevisionError:
            continue  # another process merged something: its experiments stay
        return


def merged_rows(
    store: Store, experiment: Experiment, tunables: TunableGroups
) -> list[tuple[int, dict[str, Any], TrialRecord]]:
    """The trials of merged experiments that ended: the id 0, values for all tunables of this one, and the record."""
    names = merged(experiment)
    if not names:
        return []
    defaults = texts({tunable.name: tunable.default for tunable, _ in tunables})
    rows = []
    for name in names:
        for record in ended_records(store.experiment(name)._ledger):
            values = texts(record.params)
            rows.append((0, {key: values.get(key, default) for key, default in defaults.items()}, record))
    return rows
