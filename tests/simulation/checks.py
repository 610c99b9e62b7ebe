"""The verdict on a history: does everything that callers were told, and everything they read, have one explanation?"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.simulation.actors import KEPT_S, KEY, OPTIONS, World
from tests.simulation.history import TOKEN, Call
from tests.simulation.model import BrokenError, Model, Verdict
from trialstore.model.errors import OutcomeUnknownError


@contextmanager
def named(check: str) -> Iterator[None]:
    """Say of what is found to be broken which check found it."""
    try:
        yield
    except BrokenError as error:
        error.check = check
        raise


EXPERIMENT = f"journal/experiment={KEY}/"


class Audit:
    """The model folded over all commits, and each claim of the history held against it."""

    def __init__(self, world: World, stormy: bool) -> None:
        self.world = world
        self.stormy = stormy
        self.history = world.history
        self.place = world.place
        self.model = Model(world.repeats, world.part_rows)
        self.where: dict[int, tuple[int, int]] = {}
        self.verdicts: dict[int, Verdict] = {}
        self.rows_at: dict[int, dict[str, Counter[Any]]] = {}
        self.times: list[float] = []

    def run(self) -> None:
        """Check everything.

        Raises:
            BrokenError: the first thing that does not hold.
        """
        for check in (
            self.check_storage,
            self.check_deeds,
            self.fold,
            self.check_calls,
            self.check_order,
            self.check_looks,
            self.check_reads,
            self.check_logged,
            self.check_leases,
            self.check_files,
        ):
            with named(check.__name__):
                check()

    def check_storage(self) -> None:
        """No blob was written twice with different content."""
        for wrong in self.place.broken:
            raise BrokenError(wrong)

    def check_deeds(self) -> None:
        """What each process saw with its own eyes was as it must be."""
        for wrong in self.history.wrong:
            raise BrokenError(wrong)

    def fold(self) -> None:
        wanted = {seen.low for seen in self.history.seen if seen.kind == "rows"}
        idle = [seen for seen in self.history.seen if seen.kind == "idle" and seen.low >= 0]
        seq = 0
        while (data := self.place.ever.get(f"{EXPERIMENT}{seq:020d}.jsonl")) is not None:
            for position, (command, verdict) in enumerate(self.model.fold(data, seq)):
                token = command[TOKEN]
                first = self.verdicts.get(token)
                if first is None and verdict.reason == "already applied":
                    raise BrokenError(f"command {self.history.calls[token]} was passed over at {seq} and never counted")
                if first is None or (first.reason == "session expired" and verdict.reason not in PASSED_OVER):
                    self.where[token], self.verdicts[token] = (seq, position), verdict
                elif verdict.reason not in PASSED_OVER:
                    raise BrokenError(f"command {self.history.calls[token]} took effect twice: {seq}")
            if seq in wanted:
                self.rows_at[seq] = self.model.all_rows()
            idle = [seen for seen in idle if not (seen.low <= seq <= seen.high and self.is_idle(seen.value))]
            seq += 1
        for seen in idle:
            raise BrokenError(f"{seen} was told that nothing was pending, and something was")
        count = sum(1 for key in self.place.ever if key.startswith(EXPERIMENT))
        if count != seq:
            raise BrokenError(f"the journal has {count} commits and a gap after {seq - 1}")

    def is_idle(self, at: str) -> bool:
        return not any(self.model.may_claim(trial, at) for trial in self.model.trials.values())

    def calls(self) -> list[Call]:
        return [call for call in self.history.calls if call.journal.startswith(EXPERIMENT)]

    def check_calls(self) -> None:
        """Each caller was told what the order of the journal says, once."""
        for call in self.calls():
            verdict = self.verdicts.get(call.token)
            if call.error is not None and not isinstance(call.error, OutcomeUnknownError):
                if verdict is not None and verdict.reason != "session expired":
                    raise BrokenError(f"{call} failed, and took effect at {self.where[call.token]}: {verdict}")
            elif call.outcome is not None:
                if verdict is None:
                    raise BrokenError(f"{call} was acknowledged and is not in the journal")
                told, value = call.outcome.reason, call.outcome.value
                if told != verdict.reason or (told is None and call.kind in VALUED and value != verdict.value):
                    raise BrokenError(f"{call} was told otherwise than {verdict} at {self.where[call.token]}")

    def check_order(self) -> None:
        """What was acknowledged before another call began comes before it."""
        told = sorted((c.told_at, self.where[c.token]) for c in self.calls() if c.outcome and c.told_at is not None)
        self.times = [time for time, _ in told]
        newest: list[tuple[int, int]] = []
        for _, where in told:
            newest.append(max(where, newest[-1]) if newest else where)
        self.newest = newest
        for call in self.calls():
            if call.token in self.where and not call.posted:
                before = bisect_left(self.times, call.asked_at)
                if before and self.where[call.token] < newest[before - 1]:
                    raise BrokenError(
                        f"{call} is at {self.where[call.token]}, before {newest[before - 1]}, told earlier"
                    )

    def check_looks(self) -> None:
        """Who looks sees at least all that was acknowledged before."""
        for look in self.history.looks:
            if look.journal.startswith(EXPERIMENT):
                before = bisect_left(self.times, look.asked_at)
                if before and look.seq < self.newest[before - 1][0]:
                    raise BrokenError(f"{look} misses {self.newest[before - 1]}")

    def check_reads(self) -> None:
        """Snapshots and trials that were read are what they were at their place in the order."""
        for seen in self.history.seen:
            if seen.kind == "rows":
                if seen.low >= 0:
                    self.same_rows(f"{seen.process} at {seen.low}", seen.value, self.rows_at[seen.low])
            elif seen.kind == "trial":
                number, facts = seen.value
                versions = self.model.versions[number]
                first = max((i for i, (seq, _) in enumerate(versions) if seq <= seen.low), default=0)
                if not any(facts == known for seq, known in versions[first:] if seq <= seen.high):
                    raise BrokenError(f"{seen.process} read trial {number} as {facts}; it was {versions[first:]}")
            elif seen.kind == "overdue":
                number, attempt = seen.value
                known = [facts for seq, facts in self.model.versions[number] if seq <= seen.high]
                if (known[-1]["status"], known[-1]["attempt"]) == ("RUNNING", attempt):
                    raise BrokenError(f"{seen.process} was not given attempt {attempt} of {number}, which it has")

    def same_rows(self, who: str, found: dict[str, Counter[Any]], wanted: dict[str, Counter[Any]]) -> None:
        for table, rows in wanted.items():
            if found[table] != rows:
                raise BrokenError(
                    f"rows of {table}, {who}: missing {dict(rows - found[table])}, too many {dict(found[table] - rows)}"
                )

    def check_logged(self) -> None:
        """Rows that a returned call promised are in the store, and none is there twice."""
        rows = self.model.rows
        for logged in self.history.logged:
            count = rows[logged.table][logged.mark]
            if count > 1 or (logged.acknowledged and count == 0):
                raise BrokenError(f"{logged} is in the store {count} times")

    def check_leases(self) -> None:
        """No trial was taken from a session that kept its lease, and no attempt was given out twice."""
        given = Counter((number, attempt) for number, attempt, _ in self.model.claims)
        for claim, count in given.items():
            if count > 1:
                raise BrokenError(f"attempt {claim} was given out {count} times")
        for number, attempt, session, worker, token in self.model.lease_ends:
            call = self.history.calls[token]
            key = f"leases/experiment={KEY}/{session}.json"
            renewals, releases = self.place.renewals.get(key, []), self.place.releases.get(key, [])
            end = call.told_at if call.told_at is not None else self.world.scheduler.now
            if not renewals:
                raise BrokenError(f"{session} held trial {number}.{attempt} without a lease")
            gaps = [(start, min(stop, end)) for start, stop in zip(renewals, [*renewals[1:], end], strict=True)]
            gone = any(
                (stop - start > OPTIONS.lease_s or any(start <= time < stop for time in releases))
                for start, stop in gaps
                if stop >= call.began_at
            )
            holder = self.world.processes.get(worker)
            was_well = holder is not None and not holder.stood_still and (holder.ended_at or end) >= end
            if was_well and not self.stormy:
                raise BrokenError(f"trial {number}.{attempt} was taken from {worker}, which was well: {gaps}")
            if not gone:
                raise BrokenError(
                    f"trial {number}.{attempt} was taken from {session}, whose lease was good: {gaps}, {call}"
                )

    def check_files(self) -> None:
        """All parts that the journal names exist, and so do artifacts; what was replaced was kept for its readers."""
        for part, table in self.model.parts.items():
            if f"{table}/experiment={KEY}/{part}.parquet" not in self.place.blobs:
                raise BrokenError(f"live part {part} of {table} does not exist")
        for part, (table, seq) in self.model.retired.items():
            deleted_at = self.place.deleted.get(f"{table}/experiment={KEY}/{part}.parquet")
            if deleted_at is not None:
                kept_s = deleted_at - self.place.written[f"{EXPERIMENT}{seq:020d}.jsonl"]
                if kept_s < KEPT_S:
                    raise BrokenError(f"part {part} of {table} was deleted {kept_s:.0f} s after {seq} replaced it")
        for _, _, _, path in self.model.all_rows()["artifacts"]:
            if path not in self.place.blobs:
                raise BrokenError(f"artifact {path} does not exist")

    @named("check_ended")
    def check_ended(self) -> None:
        """Every trial could be finished in the end."""
        left = [trial.number for trial in self.model.trials.values() if trial.ended_at is None]
        if left:
            raise BrokenError(f"trials {left} could not be finished")

    @named("same_state")
    def same_state(self, state: dict[str, Any]) -> None:
        """The state as a new process sees it is the model's."""
        model = self.model
        live = {n: trial.facts() for n, trial in model.trials.items() if trial.in_part is None}
        wanted = {
            "seq": model.seq,
            "trials": live,
            "documents": model.documents,
            "counts": Counter(trial.status for trial in model.trials.values()),
            "parts": model.parts,
            "superseded": {part: numbers for part, numbers in model.stale.items() if numbers},
            "sessions": model.sessions,
            "logs": {table: (model.log_start[table], model.log_count[table]) for table in model.log_start},
        }
        for name, value in wanted.items():
            if state[name] != value:
                raise BrokenError(f"{name} of the state: {state[name]}, expected {value}")


PASSED_OVER = ("already applied", "session expired")
VALUED = {"register", "claim", "finish", "document", "flush", "expire"}


def digest(world: World) -> str:
    """What two runs of one seed must share."""
    text = "\n".join(world.place.trace).encode()
    return hashlib.sha256(text + repr(sorted(world.history.counts.items())).encode()).hexdigest()[:16]
