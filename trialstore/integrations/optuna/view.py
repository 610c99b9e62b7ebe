"""What this process knows of a study's trials, brought up to date by what changed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

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

    Guarantees: a trial object that was handed out never changes; a later one takes its place.

    Args:
        ledger: Of the study's experiment.
        study_id: Its id.
        space: What is known of the parameters of trials that did not come from Optuna.
    """

    def __init__(self, ledger: Ledger, study_id: int, space: Mapping[str, BaseDistribution]) -> None:
        self._ledger = ledger
        self._study_id = study_id
        self._space = space
        self._changes = Changes()
        ledger.journal.watch(self._changes)
        self._position = 0
        self._numbers: list[int] = []
        self._trials: list[FrozenTrial] = []
        self._attempts: dict[int, int] = {}
        self._open: set[int] = set()
        self._best: FrozenTrial | None = None
        self._best_is_known = True
        self.distributions: dict[str, BaseDistribution] = dict(space)

    def find(self, number: int) -> FrozenTrial | None:
        """The trial as it was at the last `refresh`, None when there was none."""
        place = number if number < len(self._numbers) and self._numbers[number] == number else self._place(number)
        return None if place is None else self._trials[place]

    def all(self) -> list[FrozenTrial]:
        """All trials by number; the list is the caller's."""
        return self._trials.copy()

    def open(self) -> list[FrozenTrial]:
        """The trials that have not ended, by number."""
        return [trial for number in sorted(self._open) if (trial := self.find(number)) is not None]

    def best(self, minimize: bool) -> FrozenTrial | None:
        """The complete trial with the best value, the first of equal ones. Cost: the trials since the last call."""
        if not self._best_is_known:
            self._best = None
            for trial in self._trials:
                self._compete(trial, minimize)
            self._best_is_known = True
        return self._best

    def names(self) -> list[str]:
        """The study's metrics as the catalog has them; there is always one."""
        return [str(body["name"]) for body in self._ledger.entry.config["metrics"]] or ["value"]

    def refresh(self, *, minimize: bool, look: bool = True) -> None:
        """Bring it up to date.

        Args:
            minimize: Which way the first value is better.
            look: Whether to look first for what others committed.
        """
        try:
            self._refresh(minimize, look)
        except BaseException:
            self._changes.lose()
            raise

    def _refresh(self, minimize: bool, look: bool) -> None:
        todo: set[int] | None = set()
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
            self._take(records, fresh, steps, rows_from_parts, minimize)
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
        minimize: bool,
    ) -> None:
        names, reported = self.names(), self._reported_names()
        new: dict[int, list[tuple[int, int, float]]] = {}
        for number, attempt, name, step, _, value in fresh:
            if step is not None and name in reported:
                new.setdefault(number, []).append((attempt, step, unpack(value)))  # type: ignore[arg-type]
        records.sort(key=lambda record: record.number)
        for record in records:
            number = record.number
            old = self.find(number)
            steps: dict[int, float] = {}
            if rows_from_parts:
                steps = in_parts.get(number, {})
            elif old is not None and self._attempts.get(number, record.attempt) in (record.attempt, _BEFORE):
                steps = old.intermediate_values.copy()
            for attempt, step, value in new.get(number, ()):
                if attempt in (record.attempt, _BEFORE) and type(value) in (int, float):
                    steps[step] = float(value)
            trial = frozen_of(record, trial_id(self._study_id, number), names, self._space, steps)
            self._put(trial, old, minimize)
            if not trial.state.is_finished():
                self._attempts[number] = record.attempt
                self._open.add(number)
            else:
                self._attempts.pop(number, None)
                self._open.discard(number)

    def _drop(self, numbers: set[int]) -> None:
        """Forget trials that were taken out of the experiment."""
        for number in numbers:
            place = self._place(number)
            if place is not None:
                del self._numbers[place], self._trials[place]
                self._open.discard(number)
                self._best_is_known = False

    def _put(self, trial: FrozenTrial, old: FrozenTrial | None, minimize: bool) -> None:
        number = trial.number
        if old is not None:
            place = self._place(number)
            assert place is not None
            self._trials[place] = trial
            if old.state is TrialState.COMPLETE:
                self._best_is_known = False
        elif not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
            self._trials.append(trial)
        else:
            place = bisect_left(self._numbers, number)
            self._numbers.insert(place, number)
            self._trials.insert(place, trial)
        for name, distribution in trial.distributions.items():
            if name not in self.distributions:
                self.distributions[name] = distribution
        if self._best_is_known:
            self._compete(trial, minimize)

    def _compete(self, trial: FrozenTrial, minimize: bool) -> None:
        if trial.state is not TrialState.COMPLETE or not trial.values:
            return
        value, best = trial.values[0], self._best
        than = math.nan if best is None else best.values[0]
        is_better = math.isnan(than) or (value < than if minimize else value > than)
        if best is None or is_better or (value == than and trial.number < best.number):
            self._best = trial

    def _place(self, number: int) -> int | None:
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
