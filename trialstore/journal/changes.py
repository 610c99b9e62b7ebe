"""Which trials changed since somebody last looked, so that a reader decodes each change once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trialstore.journal.commit import Command
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.machine import Outcome
from trialstore.model.ranges import iterate_ranges

__all__ = ["Changes"]

_NOWHERE = -(2**63)


class Changes:
    """Numbers of the trials that commands touched, as the commits of one experiment are folded.

    `Journal.watch` tells it of every commit that this process folds. What came with a checkpoint nobody tells: the next
    `take` then says that everything may have changed.

    Attributes:
        parts_came: Whether rows of the metrics table came as parts since the last `take`.
    """

    def __init__(self) -> None:
        self._seq = _NOWHERE
        self._numbers: set[int] = set()
        self.parts_came = False

    def notice(self, commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
        """Know of the next commit."""
        self._seq += 1
        numbers = self._numbers
        for command, outcome in zip(commands, outcomes, strict=True):
            if outcome.reason is not None:
                continue
            kind = command["kind"]
            if kind == "claim":
                if outcome.value is not None:
                    numbers.add(outcome.value[0])
            elif "trial" in command:
                numbers.add(command["trial"])
            elif kind == "register":
                numbers.update(range(outcome.value, outcome.value + len(command["trials"])))
            elif kind == "remove":
                numbers.update(command["trials"])
            elif kind == "rows":
                if command["table"] == "metrics":
                    numbers.update(row[0] for row in command["rows"])
            elif kind in ("import", "parts"):
                for part in command["parts"]:
                    self.parts_came |= part["table"] == "metrics"
                    if part["table"] in ("metrics", "trials"):
                        numbers.update(iterate_ranges(part["trials"]))

    def take(self, state: ExperimentState) -> set[int] | None:
        """The numbers since the last time, which are then forgotten; None when every trial may have changed.

        Args:
            state: The journal's state now.
        """
        numbers, self._numbers = self._numbers, set()
        if self._seq == state.seq:
            return numbers
        self._seq = state.seq
        return None

    @contextmanager
    def following(self, state: ExperimentState) -> Iterator[set[int] | None]:
        """`take` for a with-block that brings a reader up to the state.

        Guarantees: where the block raises, the next look says that every trial may have changed, since nobody knows how
        far the reader came.
        """
        try:
            yield self.take(state)
        except BaseException:
            self.lose()
            raise

    def lose(self) -> None:
        """What the last `take` gave was of no use: the next one says that every trial may have changed."""
        self._seq = _NOWHERE
