"""Studies from any other storage of Optuna into a store: exactly, many trials a commit, resumed where it stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from trialstore.integrations.optuna.catching_up import catch_up
from trialstore.integrations.optuna.likeness import first_difference
from trialstore.integrations.optuna.naming import trial_id
from trialstore.integrations.optuna.sources import opened_source
from trialstore.integrations.optuna.storage import TrialStoreStorage
from trialstore.model.errors import ConflictError, DamagedError, NotFoundError, UsageError, nearest
from trialstore.store import Store

__all__ = ["CopiedStudy", "import_studies"]

_BATCH_TRIALS = 4096
_BATCH_STEPS = 65536

_OF_TRIAL = re.compile(r"(dashboard:(?:artifacts:)?)([0-9]+)(:.*)", re.DOTALL)
"""Attributes of a study in which ``optuna-dashboard`` keeps notes and artifacts of a trial, under the trial's id."""

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CopiedStudy:
    """What became of one study.

    Attributes:
        source: Its name where it comes from.
        name: Its name in the store.
        trials: How many it has now, as its source.
        added: How many of them this call added.
        updated: How many had not ended when they were copied before, and were brought up to date.
    """

    source: str
    name: str
    trials: int
    added: int
    updated: int


def import_studies(
    source: str | os.PathLike[str] | BaseStorage,
    place: TrialStoreStorage | Store | str | os.PathLike[str],
    *,
    studies: Sequence[str] | None = None,
    name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Tell | None = None,
) -> list[CopiedStudy]:
    """Copy studies into a store, from any other storage of Optuna, which is only read.

    Guarantees: a copied study has the same trials under the same numbers: states (waiting and running ones as well),
    values, parameters in their order, distributions, attributes, intermediate values, NaN and infinities, times to the
    microsecond. That is compared before it returns. Called again, after it was killed or because the source has grown,
    it adds what is missing, and never a trial twice.

    Args:
        source: A storage, the URL of a database or of Redis, or the path of a journal file.
        place: The store, or where it is; it is made where there is none.
        studies: Names of the studies; all by default.
        name: What the one study shall be called in the store; its name by default.
        storage_options: For fsspec's filesystem, where `place` is an address.
        progress: Told the study's name, how many of its trials are in, and how many there are.

    Raises:
        NotFoundError: the source has no such file or study.
        ConflictError: the store has a study of this name that is another one.
        UsageError: `name` is given for several studies, or `source` is no storage.

    Example:
        >>> import optuna
        >>> from trialstore.integrations.optuna import import_studies
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> there = optuna.storages.InMemoryStorage()
        >>> optuna.create_study(study_name="tune", storage=there).optimize(lambda trial: 0.5, n_trials=3)
        >>> import_studies(there, "memory://doctest/optuna-import")
        [CopiedStudy(source='tune', name='tune', trials=3, added=3, updated=0)]
    """
    with opened_source(source) as storage:
        chosen = _chosen(storage, studies)
        if name is not None and len(chosen) != 1:
            raise UsageError("a name can be given to one study", hint="choose one", studies=len(chosen), name=name)
        if isinstance(place, TrialStoreStorage):
            return [_copy(storage, study, place, name, progress) for study in chosen]
        ours = isinstance(place, Store)
        target = TrialStoreStorage(place, storage_options=storage_options)
        try:
            return [_copy(storage, study, target, name, progress) for study in chosen]
        finally:
            target.flush() if ours else target.close()


def _chosen(storage: BaseStorage, names: Sequence[str] | None) -> list[FrozenStudy]:
    found = {study.study_name: study for study in storage.get_all_studies()}
    if names is None:
        return list(found.values())
    for name in names:
        if name not in found:
            near = nearest(name, found)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {len(found)} others"
            raise NotFoundError("source has no such study", hint=hint, study=name)
    return [found[name] for name in dict.fromkeys(names)]


def _copy(
    source: BaseStorage, study: FrozenStudy, target: TrialStoreStorage, name: str | None, progress: Tell | None
) -> CopiedStudy:
    called = study.study_name if name is None else name
    theirs = source.get_all_trials(study._study_id, deepcopy=False)
    for index, trial in enumerate(theirs):
        if trial.number != index:
            raise DamagedError("trials of the source are not numbered 0, 1, 2 …", study=study.study_name, trial=index)
    study_id = _study_id(target, called, list(study.directions))
    ours = target.get_all_trials(study_id, deepcopy=False)
    _same_so_far(called, ours, theirs)
    _copy_attributes(source, study, target, study_id, theirs)  # first: they name the metrics

    updated = sum(
        catch_up(target, study_id, mine, theirs[mine.number]) for mine in ours if not mine.state.is_finished()
    )
    done = len(ours)
    if progress is not None:
        progress(called, done, len(theirs))
    for batch in _batches(theirs[len(ours) :]):
        target.create_new_trials(study_id, batch)
        done += len(batch)
        if progress is not None:
            progress(called, done, len(theirs))
    target.flush()

    copied = target.get_all_trials(study_id, deepcopy=False)
    different = first_difference(copied, theirs)
    if different is not None or len(copied) != len(theirs):
        raise ConflictError(
            "study was changed while it was copied",
            hint="stop its workers, here and there, and copy again",
            study=called,
            trials=len(copied),
            source_trials=len(theirs),
            differing=different,
        )
    return CopiedStudy(study.study_name, called, len(copied), len(theirs) - len(ours), updated)


def _study_id(target: TrialStoreStorage, name: str, directions: list[StudyDirection]) -> int:
    try:
        study_id = target.get_study_id_from_name(name)
    except KeyError:
        return target.create_new_study(directions, name)
    if target.get_study_directions(study_id) != directions:
        raise _another(name, reason="its directions are others")
    return study_id


def _same_so_far(name: str, ours: Sequence[FrozenTrial], theirs: Sequence[FrozenTrial]) -> None:
    """Refuse a study whose trials are not the first of the source's; others may have gone on there."""
    if len(ours) > len(theirs):
        raise _another(name, reason="it has more trials", trials=len(ours), source_trials=len(theirs))
    ended = [trial for trial in ours if trial.state.is_finished()]
    different = first_difference(ended, [theirs[trial.number] for trial in ended])
    if different is not None:
        number, names = different
        raise _another(name, reason="its trials are others", trial=number, differing=names)


def _another(name: str, **facts: Any) -> ConflictError:
    return ConflictError("store has another study of this name", hint="choose another name", study=name, **facts)


def _batches(trials: Sequence[FrozenTrial]) -> Iterator[list[FrozenTrial]]:
    """Trials for one commit each: many, and fewer where they have many intermediate values."""
    batch: list[FrozenTrial] = []
    steps = 0
    for trial in trials:
        batch.append(trial)
        steps += len(trial.intermediate_values)
        if len(batch) >= _BATCH_TRIALS or steps >= _BATCH_STEPS:
            yield batch
            batch, steps = [], 0
    if batch:
        yield batch


def _copy_attributes(
    source: BaseStorage, study: FrozenStudy, target: TrialStoreStorage, study_id: int, trials: Sequence[FrozenTrial]
) -> None:
    known = target.get_study_user_attrs(study_id)
    for key, value in source.get_study_user_attrs(study._study_id).items():
        if _is_new(known, key, value):
            target.set_study_user_attr(study_id, key, value)
    known = target.get_study_system_attrs(study_id)
    numbers = {trial._trial_id: trial.number for trial in trials}
    for key, value in source.get_study_system_attrs(study._study_id).items():
        of_trial = _OF_TRIAL.fullmatch(key)
        if of_trial and int(of_trial[2]) in numbers:
            key = f"{of_trial[1]}{trial_id(study_id, numbers[int(of_trial[2])])}{of_trial[3]}"
        if _is_new(known, key, value):
            target.set_study_system_attr(study_id, key, value)


def _is_new(known: Mapping[str, Any], key: str, value: Any) -> bool:
    return key not in known or repr(known[key]) != repr(value)
