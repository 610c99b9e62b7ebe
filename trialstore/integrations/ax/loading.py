"""An Ax experiment out of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ax.core.arm import Arm
from ax.core.auxiliary import AuxiliaryExperiment, AuxiliaryExperimentPurpose
from ax.core.base_trial import BaseTrial
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment as AxExperiment
from ax.core.experiment_status import ExperimentStatus
from ax.core.generator_run import GeneratorRun
from ax.core.trial_status import TrialStatus
from ax.storage.json_store.decoder import _cast_arm_parameters
from ax.storage.json_store.decoders import batch_trial_from_json, trial_from_json

from trialstore.experiment import Experiment
from trialstore.integrations.ax.coder import Coder, coder_of
from trialstore.integrations.ax.mirror import mirror_of, stored_data
from trialstore.integrations.ax.rows import final_values
from trialstore.integrations.ax.saving import HEAD, number_trial
from trialstore.integrations.ax.statuses import from_ax, to_ax
from trialstore.model.errors import ExperimentNotFoundError
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.store import Store

__all__ = ["load_experiment", "load_whole"]


def load_experiment(
    store: Store,
    name: str,
    *,
    registry_bundle: Any = None,
    reduced_state: bool = False,
    skip_runners_and_metrics: bool = False,
    load_auxiliary_experiments: bool = True,
) -> AxExperiment:
    """The Ax experiment of a name, equal to what was saved.

    Statuses, parameters and values are the rows': what trialstore's own workers did with the trials since counts. A
    trial that a worker ended is COMPLETED, EARLY_STOPPED, FAILED or ABANDONED, with its metrics as data, and one that
    was registered in the store itself becomes one of Ax's.

    Args:
        store: Where from.
        name: Of the experiment.
        registry_bundle: An Ax `RegistryBundle` that knows the experiment's own metrics, runners and types.
        reduced_state: Leave out the state of generators, search spaces and optimization configs of generator runs.
        skip_runners_and_metrics: Load no runner, and each metric as a plain `Metric`, so that no bundle is needed.
        load_auxiliary_experiments: Load those, too.

    Raises:
        ExperimentNotFoundError: there is none, or it was not saved by `save_experiment`.

    Source: Ax, `ax.storage.sqa_store.load.load_experiment`.
    """
    return load_whole(
        store,
        name,
        coder_of(registry_bundle),
        reduced_state=reduced_state,
        skip_runners_and_metrics=skip_runners_and_metrics,
        load_auxiliary_experiments=load_auxiliary_experiments,
    )


def load_whole(
    store: Store,
    name: str,
    coder: Coder,
    *,
    reduced_state: bool = False,
    skip_runners_and_metrics: bool = False,
    load_auxiliary_experiments: bool = True,
) -> AxExperiment:
    """See `load_experiment`."""
    kept = store.experiment(name)
    _, head = kept.document(HEAD)
    if head is None:
        raise ExperimentNotFoundError(
            "experiment was not saved by Ax", hint="save_experiment(store, experiment) saves one", experiment=name
        )
    if skip_runners_and_metrics:
        head = _plain_metrics(head)
    experiment: AxExperiment = coder.decode({**head["members"], "trials": {}, "data_by_trial": {}})
    experiment._status = None if head["status"] is None else ExperimentStatus[head["status"]]
    if load_auxiliary_experiments:
        how = {"reduced_state": reduced_state, "skip_runners_and_metrics": skip_runners_and_metrics}
        _help(store, experiment, head["auxiliary"], coder, how)
    _add_trials(kept, experiment, coder, reduced=reduced_state, plain=skip_runners_and_metrics)
    experiment.db_id = kept.id
    return experiment


def _add_trials(kept: Experiment, experiment: AxExperiment, coder: Coder, *, reduced: bool, plain: bool) -> None:
    rows: dict[int, list[TrialRecord]] = {}
    strangers: list[TrialRecord] = []
    for record in (trial._held.record for trial in kept.trials()):
        head = (record.extras or {}).get("ax")
        if head is None:
            strangers.append(record)
        elif not head.get("gone"):
            rows.setdefault(head["trial"], []).append(record)
    trials: dict[int, BaseTrial] = {}
    data: list[DataRow] = []
    # A batch would add the status quo again, and refuse one that it has with another weight.
    status_quo, experiment._status_quo = experiment._status_quo, None
    for index in sorted(rows):
        trials[index] = _trial(experiment, index, rows[index], coder, reduced=reduced, plain=plain)
        data += _data(index, rows[index], coder, experiment)
    experiment._trials, experiment._status_quo = trials, status_quo
    for trial in trials.values():
        for arm in trial.arms:
            _cast_arm_parameters(arm, experiment.search_space)
            experiment._register_arm(arm)
        number_trial(trial, {r.extras["ax"]["arm"]: r.number for r in rows[trial.index] if r.extras})
        experiment._trials_have_ttl |= trial.ttl_seconds is not None
    if experiment.status_quo is not None:
        _cast_arm_parameters(experiment.status_quo, experiment.search_space)
        experiment._register_arm(experiment.status_quo)
    mirror = mirror_of(kept) if strangers else None
    for record in strangers:
        index = _adopt(experiment, record)
        arm = experiment.trials[index].arms[0].name
        if mirror is not None:
            mirror.adopt(record, index, arm)
        number_trial(experiment.trials[index], {arm: record.number})
        data += _values(index, arm, record, [], experiment)
    experiment.data = Data(data_rows=data)


def _trial(
    experiment: AxExperiment, index: int, rows: Sequence[TrialRecord], coder: Coder, *, reduced: bool, plain: bool
) -> BaseTrial:
    """A trial of its rows, the first of which has what belongs to the trial."""
    lead = next(row for row in rows if "members" in (row.extras or {})["ax"])
    extras: Mapping[str, Any] = lead.extras or {}
    members = {name: coder.decode(value) for name, value in extras["ax"]["members"].items() if name != "__type"}
    coded = [_plain_run(run) if plain else run for run in extras.get("ax_runs") or ()]
    runs = [load_run(run, coder, reduced=reduced) for run in coded]
    ran = {name: coder.decode_any(value) for name, value in extras["ax_run"].items()}
    _moved(members, rows)
    # The constructor numbers trials itself, after the last one that there is.
    experiment._trials = {} if index == 0 else {index - 1: None}  # type: ignore[dict-item]
    if extras["ax"]["members"]["__type"] == "Trial":
        return trial_from_json(experiment=experiment, generator_run=_only(runs), runner=None, **members, **ran)
    batch = batch_trial_from_json(experiment=experiment, generator_runs=runs, runner=None, **members, **ran)
    batch.should_add_status_quo_arm = bool(extras["ax"].get("add_status_quo"))
    return batch


def _only(runs: list[GeneratorRun]) -> Any:
    return runs[0] if runs else None


_STATE = ("_generator_kwargs", "_adapter_kwargs", "_gen_metadata", "_generator_state_after_gen")


def load_run(coded: Any, coder: Coder, *, reduced: bool) -> GeneratorRun:
    """A generator run, without its generator's state, search space and config if that is asked for."""
    if reduced:
        coded = {**coded, "search_space": None, "optimization_config": None, **{name[1:]: None for name in _STATE}}
    run: GeneratorRun = coder.decode(coded)
    return run


def _moved(members: dict[str, Any], rows: Sequence[TrialRecord]) -> None:
    """Take over what workers of the store did with the rows."""
    known: TrialStatus = members["status"]
    if all(row.status is from_ax(known) for row in rows):
        return
    statuses = {row.status for row in rows}
    members["status"] = to_ax(_together(statuses))
    started = [_local(row.started_at) for row in rows if row.started_at]
    ended = [_local(row.ended_at) for row in rows if row.ended_at]
    final = members["status"].is_terminal
    members["time_run_started"] = min(started) if started else members["time_run_started"]
    members["time_completed"] = (max(ended) if ended else members["time_completed"]) if final else None
    broken = next((row.exception for row in rows if row.exception), None)
    members["status_reason"] = broken or members["status_reason"]


def _together(statuses: set[Status]) -> Status:
    """The status of a trial whose arms have these."""
    if len(statuses) == 1:
        return next(iter(statuses))
    if all(status.is_final for status in statuses):
        return Status.SUCCEEDED if Status.SUCCEEDED in statuses else Status.FAILED
    waiting = all(status.is_claimable for status in statuses)
    return Status.PENDING if waiting else Status.RUNNING


def _local(text: str) -> datetime:
    """A time as Ax has it: of the place where the process runs, without a zone."""
    return parse_time(text).astimezone().replace(tzinfo=None)


def _data(index: int, rows: Sequence[TrialRecord], coder: Coder, experiment: AxExperiment) -> list[DataRow]:
    data: list[DataRow] = []
    for row in rows:
        extras: Mapping[str, Any] = row.extras or {}
        arm = extras["ax"]["arm"]
        if arm is not None:
            data += _values(index, arm, row, [_decoded(item, coder) for item in stored_data(extras)], experiment)
        for name, items in extras["ax"].get("other_data", {}).items():
            data += [DataRow(index, name, *_decoded(item, coder)) for item in items]
    return data


def _decoded(item: list[Any], coder: Coder) -> list[Any]:
    return [coder.decode_any(value) for value in item]


def _values(index: int, arm: str, row: TrialRecord, known: list[list[Any]], experiment: AxExperiment) -> list[DataRow]:
    """Data of an arm: what Ax knew, and the row's own values where they say something else."""
    before = final_values(known)
    changed = [
        name
        for name, value in row.metrics.items()
        if not _same([value, *_noise(row.sem, row.n, name)], [before[c].get(name) for c in ("metrics", "sem", "n")])
    ]
    data = [DataRow(index, arm, *item) for item in known if item[0] not in changed]
    for name in changed:
        sem, n = _noise(row.sem, row.n, name)
        metric = experiment.metrics.get(name)
        signature = name if metric is None else metric.signature
        mean = float(row.metrics[name])
        data.append(DataRow(index, arm, name, signature, mean, float("nan") if sem is None else float(sem), n=n))
    return data


def _noise(sem: Mapping[str, Any] | None, n: Mapping[str, Any] | None, name: str) -> list[Any]:
    return [(sem or {}).get(name), (n or {}).get(name)]


def _same(one: list[Any], other: list[Any]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def _adopt(experiment: AxExperiment, record: TrialRecord) -> int:
    """A trial of Ax for one that was registered in the store itself."""
    trial = experiment.new_trial()
    trial.add_arm(Arm(dict(record.params)))
    trial._time_created = _local(record.submitted_at)
    status = to_ax(record.status)
    if status is not TrialStatus.CANDIDATE:
        trial.mark_as(status, unsafe=True, no_runner_required=True, reason=record.exception)
    trial._time_run_started = _local(record.started_at) if record.started_at else None
    trial._time_completed = _local(record.ended_at) if record.ended_at and status.is_terminal else None
    return trial.index


def _help(
    store: Store,
    experiment: AxExperiment,
    names: Mapping[str, list[list[Any]]],
    coder: Coder,
    how: Mapping[str, bool],
) -> None:
    """Load the auxiliary experiments, without theirs."""
    loaded = {
        AuxiliaryExperimentPurpose(purpose): [
            AuxiliaryExperiment(
                load_whole(store, name, coder, load_auxiliary_experiments=False, **how), is_active=active
            )
            for name, active in several
        ]
        for purpose, several in names.items()
    }
    experiment._initial_auxiliary_experiments_by_purpose = loaded
    active = {purpose: [one for one in several if one.is_active] for purpose, several in loaded.items()}
    experiment.auxiliary_experiments_by_purpose = active


def _plain_run(coded: dict[str, Any]) -> dict[str, Any]:
    """A generator run whose config has plain metrics; what a generator kept in its metadata is its own."""
    return {**coded, "optimization_config": _plain_metrics(coded["optimization_config"])}


def _plain_metrics(coded: Any) -> Any:
    """The same encoding with every metric a plain one and without runners."""
    if isinstance(coded, list | tuple):
        return [_plain_metrics(item) for item in coded]
    if not isinstance(coded, dict):
        return coded
    kind = str(coded.get("__type", ""))
    if kind.endswith("Metric"):
        return {"__type": "Metric", "name": coded["name"], "lower_is_better": coded.get("lower_is_better")}
    if kind.endswith("Runner"):
        return None
    return {name: _plain_metrics(value) for name, value in coded.items()}
