"""An Ax experiment into a store: a row for each arm of each trial, and a document for the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from ax.core.base_trial import BaseTrial
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment as AxExperiment
from ax.core.outcome_constraint import ScalarizedOutcomeConstraint

from trialstore.experiment import Experiment
from trialstore.integrations.ax.coder import Coder, coder_of
from trialstore.integrations.ax.describing import declared_metrics, search_space
from trialstore.integrations.ax.mirror import Known, Mirror, amendment, mirror_of
from trialstore.integrations.ax.rows import Row, trial_rows
from trialstore.journal.journal import Draft
from trialstore.ledger import FLUSH_TRIALS
from trialstore.life.settling import settled
from trialstore.model.codec import pack
from trialstore.model.errors import (
    ConflictError,
    DuplicateExperimentError,
    ExperimentNotFoundError,
    UsageError,
)
from trialstore.model.status import Status
from trialstore.model.times import now_text
from trialstore.store import Store

__all__ = ["HEAD", "found", "save_experiment", "save_head", "save_trials"]

HEAD = "ax"
"""The document with all that is not a trial."""

_RUNS = 2**16


def save_experiment(store: Store, experiment: AxExperiment, *, registry_bundle: Any = None) -> Experiment:
    """Save an Ax experiment with its trials and data, and return the store's experiment of its name.

    The first save creates it, and each later one adds what changed since: all trials of a call in one commit, which
    is durable when this returns. Nothing that was saved is written again; the table ``status`` has each status that a
    save found.

    Each arm of a trial is a trial of the store, named as the arm, with its parameters, its status, and of each metric
    the mean, ``sem`` and ``n`` of the last step. The attribute ``trial_index`` is Ax's. Values with a step are rows of
    the table ``metrics``, too; there a step that is no whole number is null.

    Args:
        store: Where to.
        experiment: It must have a name.
        registry_bundle: An Ax `RegistryBundle` that knows the experiment's own metrics, runners and types.

    Raises:
        DuplicateExperimentError: there is an experiment of the name, and `experiment` is not that one, nor loaded
            from there.
        UsageError: it has no name, or something in it cannot be stored; nothing was saved.

    Cost: one commit, and one more of the catalog when metrics or the search space changed. Ax's encoder runs over each
    trial, some 0.3 ms for a trial.

    Source: Ax, `ax.storage.sqa_store.save.save_experiment`.
    """
    coder = coder_of(registry_bundle)
    return save_whole(store, experiment, coder)


def save_trials(
    store: Store, experiment: AxExperiment, trials: Iterable[BaseTrial], *, registry_bundle: Any = None
) -> None:
    """Save some trials of an experiment that was saved before, with their data, in one commit.

    Args:
        store: Where to.
        experiment: Where the data of the trials is.
        trials: They may be those of another copy of the experiment.
        registry_bundle: As for `save_experiment`.

    Raises:
        ExperimentNotFoundError: the experiment was not saved.
    """
    save_some(found(store, experiment), experiment, list(trials), coder_of(registry_bundle), store=store)


def save_whole(store: Store, experiment: AxExperiment, coder: Coder) -> Experiment:
    """See `save_experiment`."""
    kept = _own(store, experiment, coder)
    head = _head_draft(store, kept, experiment, coder)
    save_some(kept, experiment, list(experiment.trials.values()), coder, drafts=[head] if head else [], store=store)
    experiment.db_id = kept.id
    return kept


def found(store: Store, experiment: AxExperiment) -> Experiment:
    """The store's experiment that an Ax experiment was saved as.

    Raises:
        ExperimentNotFoundError: it was not saved.
    """
    if experiment.db_id is None:
        raise ExperimentNotFoundError(
            "Ax experiment was not saved yet", hint="save_experiment(store, experiment)", experiment=experiment._name
        )
    return store.experiment(experiment.name)


def _own(store: Store, experiment: AxExperiment, coder: Coder) -> Experiment:
    """The store's experiment of the name, created when there is none."""
    if not experiment.has_name:
        raise UsageError("an Ax experiment must have a name to be saved", hint="experiment.name = ...")
    name = experiment.name
    if name not in store:
        if experiment.db_id is not None:
            raise UsageError(
                "an Ax experiment that was saved elsewhere, or under another name",
                hint="its name must stay; experiment.clone_with() makes one that was never saved",
                experiment=name,
                db_id=experiment.db_id,
            )
        coder.encode(_bare(experiment))  # an experiment that cannot be stored leaves nothing behind
        return store.create_experiment(
            name, metrics=declared_metrics(experiment, ()), space=search_space(experiment), metadata={"tool": "ax"}
        )
    kept = store.experiment(name)
    if experiment.db_id != kept.id:
        raise DuplicateExperimentError(
            "store has an experiment of this name",
            hint="load it, or drop it with store.drop_experiment",
            experiment=name,
            id=kept.id,
            db_id=experiment.db_id,
        )
    return kept


def _bare(experiment: AxExperiment) -> AxExperiment:
    """The experiment without trials and data."""
    bare = copy.copy(experiment)
    bare._trials, bare.data = {}, Data()
    bare._trials_have_ttl = False
    return bare


def save_head(store: Store, experiment: AxExperiment, coder: Coder, *, only: Sequence[str] = ()) -> None:
    """Save what is not a trial, or some members of it.

    Args:
        store: Where to.
        experiment: It was saved before.
        coder: Encodes what is Ax's.
        only: Members of Ax's encoding, such as ``runner`` or ``properties``; all of them by default.
    """
    kept = found(store, experiment)
    draft = _head_draft(store, kept, experiment, coder, only)
    if draft is not None:
        kept._ledger.execute_one(draft)


def _head_draft(
    store: Store, kept: Experiment, experiment: AxExperiment, coder: Coder, only: Sequence[str] = ()
) -> Draft | None:
    members = coder.encode(_bare(experiment))
    del members["trials"], members["data_by_trial"]
    config = experiment.optimization_config
    if config is not None and any(isinstance(c, ScalarizedOutcomeConstraint) for c in config.outcome_constraints):
        # Ax's encoding of an experiment with such a constraint cannot be read again; that of the config alone can.
        members["optimization_config"] = coder.encode(config)
    head: dict[str, Any] = {
        "members": members,
        "status": None if experiment.status is None else experiment.status.name,
        "auxiliary": _auxiliary(store, experiment),
    }
    _, before = kept.document(HEAD)
    if only and before is not None:
        chosen = {name: members[name] for name in only if name in members}
        status = head["status"] if "status" in only else before["status"]
        head = {**before, "members": {**before["members"], **chosen}, "status": status}
    if before is not None and pack(before) == pack(head):
        return None
    return Draft("document", {"name": HEAD, "value": pack(head, "experiment"), "revision": None})


def _auxiliary(store: Store, experiment: AxExperiment) -> dict[str, list[list[Any]]]:
    """Names of the experiments that help this one, by purpose."""
    names: dict[str, list[list[Any]]] = {}
    for purpose, several in experiment.auxiliary_experiments_by_purpose_for_storage.items():
        for auxiliary in several:
            name = auxiliary.experiment.name
            if name not in store:
                raise UsageError(
                    "auxiliary experiment is not in the store",
                    hint="save it first",
                    experiment=experiment.name,
                    auxiliary=name,
                )
            names.setdefault(str(purpose.value), []).append([name, auxiliary.is_active])
    return names


def save_some(
    kept: Experiment,
    experiment: AxExperiment,
    trials: Sequence[BaseTrial],
    coder: Coder,
    *,
    store: Store,
    drafts: Sequence[Draft] = (),
    reduce: bool = False,
) -> None:
    """Save trials, and what `drafts` say, in one commit; see `save_trials`.

    Args:
        kept: The store's experiment.
        experiment: Ax's.
        trials: What to save.
        coder: Encodes what is Ax's.
        store: The store.
        drafts: Commands that go first.
        reduce: Leave out the generators' state of all trials but the last.
    """
    kept = _described(store, kept, experiment)
    mirror = mirror_of(kept)
    data = _by_trial(experiment, {trial.index for trial in trials})
    bodies: list[dict[str, Any]] = []
    fresh: list[tuple[Row, int]] = []
    amended: list[tuple[Row, int, Known]] = []
    changes: list[Draft] = []
    for trial in trials:
        reduced = reduce and trial is not trials[-1]
        rows = trial_rows(trial, data.get(trial.index, ()), coder, reduce=reduced)
        known = mirror.known.setdefault(trial.index, {})
        if rows[0].arm not in known and None in known:
            known[rows[0].arm] = known.pop(None)  # the trial had no arm until now
        for row in rows:
            before = mirror.find(row, trial.index)
            if before is None:
                bodies.append(mirror.register(row, trial.index))
                fresh.append((row, trial.index))
                continue
            body = mirror.amend(row, before)
            _log_steps(mirror, row, before)
            if len(body) > 1:
                changes.append(Draft("amend", body))
            amended.append((row, trial.index, before))
        for arm in known.keys() - {row.arm for row in rows}:
            gone = {"ax": {"trial": trial.index, "arm": arm, "gone": True}}
            changes.append(amendment(known.pop(arm).number, status=Status.CANCELED, reason="arm removed", extras=gone))
    _commit(kept, mirror, [*drafts, *changes], bodies, fresh)
    for row, index, before in amended:
        mirror.saved(row, index, before.number)
    _number(trials, mirror)


def _commit(
    kept: Experiment, mirror: Mirror, changes: list[Draft], bodies: list[dict[str, Any]], fresh: list[tuple[Row, int]]
) -> None:
    ledger = kept._ledger
    drafts = [*changes, Draft("register", {"trials": bodies})] if bodies else changes
    if not drafts:
        return
    outcomes = ledger.execute(*drafts)[-len(drafts) :]
    for draft, outcome in zip(drafts, outcomes, strict=True):
        settled(ledger, draft, outcome)
    if bodies:
        first = outcomes[-1].value
        for number, (row, index) in enumerate(fresh, start=first):
            mirror.saved(row, index, number)
            _log_steps(mirror, row, None, number)
    if ledger.buffer.since is not None:
        ledger.commit_buffered()
    with ledger.journal.view(refresh=False) as state:
        full = state.finished_live >= FLUSH_TRIALS
    if full and ledger.session.options.maintenance:
        kept.flush()


def _log_steps(mirror: Mirror, row: Row, known: Known | None, number: int | None = None) -> None:
    """Values with a step, as rows of the table ``metrics``."""
    at = now_text()
    number, attempt = (number, 1) if known is None else (known.number, max(1, known.attempt))
    rows = [
        [number, attempt, item[0], int(item[4]) if float(item[4]).is_integer() else None, at, item[2]]
        for item in mirror.steps(row, known)
    ]
    if rows:
        mirror.ledger.log_rows("metrics", rows)


def _described(store: Store, kept: Experiment, experiment: AxExperiment) -> Experiment:
    """The experiment with metrics and parameters declared that were not there before."""
    metrics = declared_metrics(experiment, kept.declared_metrics)
    space = search_space(experiment)
    if metrics == list(kept.declared_metrics) and space == dict(kept.space):
        return kept
    config = {
        "metrics": [metric.to_json() for metric in metrics],
        "space": {name: dimension.to_json() for name, dimension in space.items()},
    }
    outcome = store._catalog.execute(Draft("update_experiment", {"id": kept.id, "revision": None, "config": config}))[
        -1
    ]
    if outcome.reason is not None:
        raise ConflictError(outcome.reason, experiment=kept.name)
    return store.experiment(kept.name, kept.version)


def _by_trial(experiment: AxExperiment, indices: set[int]) -> dict[int, list[DataRow]]:
    found: dict[int, list[DataRow]] = {}
    for row in experiment.data._data_rows:
        if row.trial_index in indices:
            found.setdefault(row.trial_index, []).append(row)
    return found


def _number(trials: Sequence[BaseTrial], mirror: Mirror) -> None:
    """Give each object the id that it has when it is loaded again."""
    for trial in trials:
        number_trial(trial, {arm: known.number for arm, known in mirror.known[trial.index].items()})


def number_trial(trial: BaseTrial, numbers: dict[str | None, int]) -> None:
    """Set the ids of a trial, its generator runs and its arms: all are positive and unique in the experiment."""
    trial.db_id = trial.index + 1
    for position, run in enumerate(trial.generator_runs, start=1):
        run.db_id = (trial.index + 1) * _RUNS + position
        for arm in run.arms:
            if arm._name in numbers:
                arm.db_id = numbers[arm._name] + 1
    for arm in trial.arms:
        arm.db_id = numbers[arm.name] + 1
