"""What this process knows of a study's trials, brought up to date by what changed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import pyarrow as pa
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from trialstore.integrations.optuna.naming import earlier_names, trial_id
from trialstore.integrations.optuna.trials import frozen_of
from trialstore.journal.changes import Changes
from trialstore.journal.experiment import ExperimentState
from trialstore.ledger import Ledger
from trialstore.model.codec import unpack
from trialstore.model.errors import BlobNotFoundError
from trialstore.model.part import Part
from trialstore.model.ranges import in_ranges, iterate_ranges
from trialstore.model.record import TrialRecord
from trialstore.tables.parts import read_part, read_records, read_trials_of

__all__ = ["View"]

_LOOKS = 5
_FEW = 64
_BEFORE = 0
"""The attempt of values that a trial was given before it was started: they are those of any attempt."""

Steps = dict[int, dict[int, float]]
"""Intermediate values by trial and step."""


class View:
    """The trials of one study, decoded once for each change. One thread at a time may call its methods.

    Guarantees: a trial object that was handed out never changes; a later one takes its place. A trial that has ended is
    decoded when it is first read: many a sampler reads none.

    Args:
        ledger: Of the study's experiment.
        study_id: Its id.
        space: What is known of the parameters of trials that did not come from Optuna.

    Attributes:
        distributions: Of each parameter that of the first trial which was read and has it.
    """

    def __init__(self, ledger: Ledger, study_id: int, space: Mapping[str, BaseDistribution]) -> None:
        self._ledger = ledger
        self._study_id = study_id
        self._space = space
        self._changes = Changes()
        ledger.journal.watch(self._changes)
        self._position = 0
        self._numbers: list[int] = []
        self._trials: list[FrozenTrial | None] = []
        self._unread: dict[int, tuple[TrialRecord, dict[int, float]]] = {}
        self._is_behind = False
        self._begun: set[int] = set()
        self._attempts: dict[int, int] = {}
        self._open: set[int] = set()
        self._best: FrozenTrial | None = None
        self._competing: list[FrozenTrial] | None = []
        self.distributions: dict[str, BaseDistribution] = dict(space)

    def find(self, number: int) -> FrozenTrial | None:
        """The trial as it was at the last `refresh`, or `fall_behind`; None when there was none."""
        if self._is_behind:
            self.refresh(look=False)
        place = self._place(number)
        if place is None:
            return None
        trial = self._trials[place]
        return self._read(place) if trial is None else trial

    def all(self) -> list[FrozenTrial]:
        """All trials by number; the list is the caller's."""
        self.read_all()
        return cast("list[FrozenTrial]", self._trials.copy())

    def open(self) -> list[FrozenTrial]:
        """The trials that have not ended, by number."""
        return [trial for number in sorted(self._open) if (trial := self.find(number)) is not None]

    def best(self, minimize: bool) -> FrozenTrial | None:
        """The complete trial with the best value, the first of equal ones. Cost: the trials since the last call."""
        self.read_all()
        if self._competing is None:
            self._best, self._competing = None, self.all()
        for trial in self._competing:
            self._compete(trial, minimize)
        self._competing = []
        return self._best

    def names(self) -> list[str]:
        """The study's metrics as the catalog has them; there is always one."""
        return [str(body["name"]) for body in self._ledger.entry.config["metrics"]] or ["value"]

    def is_open(self, number: int) -> bool:
        """Whether the trial had not ended at the last `refresh`, or `fall_behind`."""
        if self._is_behind:
            self.refresh(look=False)
        return number in self._open

    def read_all(self) -> None:
        """Decode what nobody has read, so that `distributions` has all."""
        for number in sorted(self._unread):
            place = self._place(number)
            assert place is not None
            self._read(place)

    def fall_behind(self) -> None:
        """This process has committed something: it is taken in before the next trial is found."""
        self._is_behind = True

    def begin(self, record: TrialRecord) -> None:
        """Know of a trial that this process has just registered, and runs, without a look at the journal.

        Another thread may have looked since, and seen what became of it; so the next `refresh` looks at it again.
        """
        self._begun.add(record.number)
        if self._place(record.number) is None:
            self._put(record.number, self._decoded(record, {}))
            self._open.add(record.number)

    def refresh(self, *, look: bool = True) -> None:
        """Bring it up to date.

        Args:
            look: Whether to look first for what others committed.
        """
        self._is_behind = False
        try:
            self._refresh(look)
        except BaseException:
            self._changes.lose()
            self._is_behind = True
            raise

    def _refresh(self, look: bool) -> None:
        todo: set[int] | None
        todo, self._begun = self._begun, set()
        rows_from_parts = False
        for attempt in range(_LOOKS):
            with self._ledger.journal.view(refresh=look or attempt > 0) as state:
                numbers = self._changes.take(state)
                rows_from_parts |= self._changes.parts_came
                self._changes.parts_came = False
                if todo is None or numbers is None:
                    todo, rows_from_parts = None, True
                    wanted = _numbers_of(state)
                else:
                    todo |= numbers
                    wanted = todo
                if not wanted:
                    return
                log = state.manifest.rows["metrics"]
                rows_from_parts |= self._position < log.start
                live = [state.trials[number].decoded() for number in wanted if number in state.trials]
                start = 0 if rows_from_parts else self._position - log.start
                fresh = log.rows[start:] if start < len(log.rows) else []
                position = log.start + len(log.rows)
                gone = {number for number in wanted if number not in state.trials}  # not `-`, which passes over all
                parts = list(state.manifest.parts.values()) if gone or rows_from_parts else []
                superseded = state.manifest.superseded if gone else {}
                try:
                    # Read while nothing can take the parts away: they are many files at the first look only.
                    records = live + self._records(parts, superseded, gone)
                    steps = self._steps_in_parts(parts, records) if rows_from_parts else {}
                except BlobNotFoundError:
                    if attempt + 1 == _LOOKS:
                        raise
                    continue
            self._position = position
            self._drop((wanted | (set(self._numbers) if todo is None else set())) - {one.number for one in records})
            self._take(records, fresh, steps, rows_from_parts)
            return

    # Reading what is in parts

    def _records(
        self, parts: Iterable[Part], superseded: Mapping[str, set[int]], numbers: set[int]
    ) -> list[TrialRecord]:
        found: list[TrialRecord] = []
        for part in parts:
            if part.table != "trials" or not numbers:
                continue
            over = superseded.get(part.id, set())
            wanted = {n for n in numbers if in_ranges(n, part.trials)} - over
            if wanted:
                some = sorted(wanted) if len(wanted) <= _FEW else None
                records = read_records(self._ledger.blobs, self._ledger.key, part, some)
                found += [record for record in records if record.number in wanted]
                numbers = numbers - wanted
        return found

    def _steps_in_parts(self, parts: Iterable[Part], records: Sequence[TrialRecord]) -> Steps:
        steps: Steps = {}
        names = self._reported_names()
        attempts = {record.number: record.attempt for record in records}
        for part in parts:
            if part.table != "metrics" or not any(in_ranges(number, part.trials) for number in attempts):
                continue
            if len(attempts) <= _FEW:
                table = read_trials_of(self._ledger.blobs, part.blob_key(self._ledger.key), sorted(attempts), "metrics")
            else:
                table = read_part(self._ledger.blobs, self._ledger.key, part)
            _add_steps(steps, table, names, attempts)
        return steps

    def _reported_names(self) -> set[str]:
        """The names under which intermediate values of the first objective stand: the present one, and earlier ones."""
        return {self.names()[0], *earlier_names(self._ledger.entry)}

    # Taking in what was read

    def _take(
        self,
        records: list[TrialRecord],
        fresh: Sequence[Sequence[object]],
        in_parts: Steps,
        rows_from_parts: bool,
    ) -> None:
        reported = self._reported_names() if fresh else set()
        new: dict[int, list[tuple[int, int, float]]] = {}
        for number, attempt, name, step, _, value in fresh:
            if step is not None and name in reported:
                new.setdefault(number, []).append((attempt, step, unpack(value)))  # type: ignore[arg-type]
        records.sort(key=lambda record: record.number)
        for record in records:
            number = record.number
            steps: dict[int, float] = {}
            if rows_from_parts:
                steps = in_parts.get(number, {})
            elif self._attempts.get(number, record.attempt) in (record.attempt, _BEFORE):
                steps = self._known_steps(number)
            for attempt, step, value in new.get(number, ()):
                if attempt in (record.attempt, _BEFORE) and type(value) in (int, float):
                    steps[step] = float(value)
            if record.status.is_final:
                self._put(number, None)
                self._unread[number] = (record, steps)
                self._attempts.pop(number, None)
                self._open.discard(number)
            else:
                self._put(number, self._decoded(record, steps))
                self._unread.pop(number, None)
                self._attempts[number] = record.attempt
                self._open.add(number)

    def _known_steps(self, number: int) -> dict[int, float]:
        """A trial's intermediate values as far as they were taken in; the dict is the caller's."""
        place = self._place(number)
        if place is None:
            return {}
        trial = self._trials[place]
        return (self._unread[number][1] if trial is None else trial.intermediate_values).copy()

    def _read(self, place: int) -> FrozenTrial:
        """Decode a trial that has ended."""
        number = self._numbers[place]
        trial = self._trials[place] = self._decoded(*self._unread[number])
        del self._unread[number]
        if self._competing is not None and trial.state is TrialState.COMPLETE:
            self._competing.append(trial)
        return trial

    def _decoded(self, record: TrialRecord, steps: dict[int, float]) -> FrozenTrial:
        trial = frozen_of(record, trial_id(self._study_id, record.number), self.names(), self._space, steps)
        for name, distribution in trial.distributions.items():
            if name not in self.distributions:
                self.distributions[name] = distribution
        return trial

    def _drop(self, numbers: set[int]) -> None:
        """Forget trials that were taken out of the experiment."""
        for number in numbers:
            place = self._place(number)
            if place is not None:
                del self._numbers[place], self._trials[place]
                self._unread.pop(number, None)
                self._open.discard(number)
                self._competing = None

    def _put(self, number: int, trial: FrozenTrial | None) -> None:
        place = self._place(number)
        if place is not None:
            old, self._trials[place] = self._trials[place], trial
            if old is not None and old.state is TrialState.COMPLETE:
                self._competing = None
        elif not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
            self._trials.append(trial)
        else:
            place = bisect_left(self._numbers, number)
            self._numbers.insert(place, number)
            self._trials.insert(place, trial)

    def _compete(self, trial: FrozenTrial, minimize: bool) -> None:
        if trial.state is not TrialState.COMPLETE or not trial.values:
            return
        value, best = trial.values[0], self._best
        than = math.nan if best is None else best.values[0]
        is_better = math.isnan(than) or (value < than if minimize else value > than)
        if best is None or is_better or (value == than and trial.number < best.number):
            self._best = trial

    def _place(self, number: int) -> int | None:
        if number < len(self._numbers) and self._numbers[number] == number:
            return number  # no trial was taken out before it
        place = bisect_left(self._numbers, number)
        return place if place < len(self._numbers) and self._numbers[place] == number else None


def _numbers_of(state: ExperimentState) -> set[int]:
    """All trials there are."""
    numbers = set(state.trials)
    for part in state.manifest.parts.values():
        if part.table == "trials":
            numbers.update(iterate_ranges(part.trials))
    return numbers


def _add_steps(steps: Steps, table: pa.Table, names: set[str], attempts: Mapping[int, int]) -> None:
    columns = (table[name].to_pylist() for name in ("trial", "attempt", "name", "step", "value", "type"))
    for number, attempt, name, step, value, kind in zip(*columns, strict=True):
        if step is None or value is None or kind == "bool" or name not in names:
            continue
        if number in attempts and attempt in (attempts[number], _BEFORE):
            steps.setdefault(number, {})[step] = value
