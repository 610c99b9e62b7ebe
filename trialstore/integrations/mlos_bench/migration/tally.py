"""Counts and checksums, by which both sides of a migration are seen to hold the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trialstore.integrations.mlos_bench.migration.rows import ExperimentRow, Side, Texts, TrialRow

__all__ = ["Tally", "head_tally", "sample_tally", "trial_tallies"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BITS = 128


@dataclass(slots=True)
class Tally:
    """How many rows there are, and the sum of their hashes: the same for the same rows in any order.

    Example:
        >>> one, other = Tally(), Tally()
        >>> one.add([(1, "a"), (2, None)]); other.add([(2, None), (1, "a")])
        >>> one == other, one.rows
        (True, 2)
    """

    rows: int = 0
    total: int = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Count rows of texts, whole numbers and None."""
        for row in rows:
            data = repr(row).encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(data, digest_size=_BITS // 8).digest()
            self.total = (self.total + int.from_bytes(digest, "big")) % (1 << _BITS)
            self.rows += 1

    @property
    def checksum(self) -> str:
        """The sum in hexadecimal digits."""
        return f"{self.total:0{_BITS // 4}x}"


def head_tally(row: ExperimentRow) -> Tally:
    """What is said of the experiment itself: where it comes from, and its objectives."""
    tally = Tally()
    names = ("description", "root_env_config", "git_repo", "git_commit")
    tally.add([(row.exp_id, *(str(row.columns.get(name) or "") for name in names))])
    tally.add((each.metric, each.direction, repr(each.weight)) for each in row.objectives)
    return tally


def trial_tallies(batches: Iterable[list[TrialRow]]) -> Mapping[str, Tally]:
    """The tables of trials, each of mlos_bench's but telemetry."""
    tallies = {name: Tally() for name in ("trial", "config_param", "trial_param", "trial_result", "trial_status")}
    for batch in batches:
        tallies["trial"].add(
            (row.id, row.status, row.runner, _us(row.starts_at), None if row.ended_at is None else _us(row.ended_at))
            for row in batch
        )
        for row in batch:
            tallies["config_param"].add(_flat(row.id, row.tunables))
            tallies["trial_param"].add(_flat(row.id, row.params))
            tallies["trial_result"].add(_flat(row.id, row.results))
            tallies["trial_status"].add((row.id, _us(at), status) for at, status in row.steps)
    return tallies


def sample_tally(side: Side, exp_id: str, last: int) -> Tally:
    """The telemetry of trials up to an id."""
    tally = Tally()
    for batch in side.samples(exp_id, 0, last):
        tally.add((number, _us(at), name, value) for number, at, name, value in batch)
    return tally


def _flat(number: int, values: Texts) -> Iterator[tuple[Any, ...]]:
    return ((number, name, value) for name, value in values.items())


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
