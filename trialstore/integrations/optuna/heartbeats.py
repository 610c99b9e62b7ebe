"""Heartbeats of single trials, aged by the backend's clock alone."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import to_json

from trialstore.ledger import Ledger
from trialstore.model.times import now_text

__all__ = ["Heartbeats"]


class Heartbeats:
    """One blob a trial, beside the leases of the experiment.

    Guarantees: a trial that counts as stale did not beat for the grace period, whatever the clocks of the machines say;
    one that never beat is not stale.

    Args:
        ledger: Of the experiment.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._blobs = ledger.blobs
        self._folder = f"leases/experiment={ledger.key}"
        self._clock = f"{self._folder}/clock-{ledger.session.id.current()}.json"
        self._beating: set[int] = set()

    def _blob(self, number: int) -> str:
        return f"{self._folder}/trial-{number}.json"

    def beat(self, number: int, grace_s: float) -> None:
        """A trial is alive. Cost: one write."""
        self._beating.add(number)
        self._blobs.write(self._blob(number), to_json({"trial": number, "lease_s": grace_s, "at": now_text()}))

    def forget(self, number: int) -> None:
        """A trial that beat in this process has ended."""
        if number in self._beating:
            self._beating.discard(number)
            self._blobs.delete([self._blob(number)])

    def stale(self, numbers: Iterable[int], grace_s: float) -> list[int]:
        """Those that beat, and last did so longer ago than the grace period.

        Cost: a look for each, and where one beat a write, a look and a deletion.
        """
        looks = {number: self._blobs.info(self._blob(number)) for number in numbers}
        beats = {number: info.modified_at for number, info in looks.items() if info is not None}
        if not beats:
            return []
        self._blobs.write(self._clock, to_json({"lease_s": grace_s, "at": now_text()}))
        now = self._blobs.info(self._clock)
        self._blobs.delete([self._clock])
        if now is None:  # a vacuum of a far too short grace was quicker
            return []
        return [number for number, at in beats.items() if (now.modified_at - at).total_seconds() > grace_s]
