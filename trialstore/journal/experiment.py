"""The fold of an experiment's journal: every decision about its trials is made here, and only here."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Any

from trialstore.journal.advancing import advance, log_reports
from trialstore.journal.amending import amend
from trialstore.journal.commit import Command
from trialstore.journal.machine import Machine, Outcome, accepted, refused
from trialstore.journal.manifest import Manifest
from trialstore.journal.removing import remove
from trialstore.journal.repeating import repeat_key
from trialstore.journal.shapes import EXPERIMENT_HEAD, RECORD
from trialstore.model.record import GIVEN, RECORD_FIELDS, TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time

__all__ = ["ExperimentState"]

_MICROSECOND = timedelta(microseconds=1)


class ExperimentState(Machine):
    """All that is decided about the trials of one experiment.

    A finished trial stays in `trials` until a flush moves its row into a part; then only the manifest knows it.

    Attributes:
        repeats: Whether trials of equal parameters and fidelity are allowed.
        next_number: The number that the next registered trial gets.
        trials: Trials that are not in a part, by number.
        active: Numbers of the trials that a worker holds.
        counts: Trials by status, those in parts included.
        manifest: The live parts, and the rows that are not in one.
        busy_us: Microseconds that ended attempts ran, together.
        first_at, last_at: When the first trial was registered and the last one ended.
    """

    quiet = Machine.quiet | {"flush", "replace", "forget", "disown", "retire_blobs"}

    def __init__(self, repeats: bool = True) -> None:
        super().__init__()
        self.repeats = repeats
        self.next_number = 0
        self.trials: dict[int, TrialRecord] = {}
        self.active: set[int] = set()
        self.finished_live = 0
        self.counts: dict[Status, int] = {}
        self.manifest = Manifest()
        self.busy_us = 0
        self.first_at: str | None = None
        self.last_at: str | None = None
        self._known: set[bytes] = set()
        self._ready: list[int] = []
        self._scheduled: list[tuple[str, int]] = []
        self.handlers |= {
            "register": self._register,
            "allocate": self._allocate,
            "import": self._import,
            "claim": self._claim,
            "finish": self._finish,
            "status": self._status,
            "expire": self._expire,
            "annotate": self._annotate,
            "amend": partial(amend, self),
            "advance": partial(advance, self),
            "assign": self._assign,
            "remove": partial(remove, self),
            "revive": self._revive,
            "rows": self._rows,
            "parts": self._parts,
            "flush": self._flush,
            "replace": self._replace,
            "forget": self._forget,
            "disown": self._disown,
            "remove_artifacts": self._remove_artifacts,
            "retire_blobs": self._retire_blobs,
        }

    # Registering

    def _register(self, command: Command) -> Outcome:
        """Add trials: all of them, or none when one is a forbidden repeat, or the first gets not the number it must."""
        at, bodies = command["at"], command["trials"]
        if command.get("first", self.next_number) != self.next_number:
            return refused("stale revision", expected=command["first"], next_number=self.next_number)
        if not self.repeats:
            twice = self._learn([repeat_key(body) for body in bodies])
            if twice:
                return refused("duplicate", indexes=twice)
        first = self.next_number
        for body in bodies:
            record = TrialRecord(
                number=self.next_number,
                id=body["id"],
                params=body["params"],
                status=Status(body["status"]) if "status" in body else Status.PENDING,
                submitted_at=body.get("submitted_at", at),
                seq=self.seq,
            )
            for name in body.keys() & _GIVEN:
                setattr(record, name, body[name])
            self.next_number += 1
            self._add(record)
            self._log_status(record, record.submitted_at)
            log_reports(self, record, body)
            if command.get("claimed") and record.status.is_claimable:
                self._start(record, Status.RUNNING, command, at)
        if bodies and self.first_at is None:
            self.first_at = at
        return accepted(first)

    def _learn(self, keys: list[bytes]) -> list[int]:
        """Remember repeat keys; when some are known or given twice, remember none and return where those stand."""
        seen: set[bytes] = set()
        twice = []
        for index, key in enumerate(keys):
            if key in self._known or key in seen:
                twice.append(index)
            seen.add(key)
        if not twice:
            self._known |= seen
        return twice

    def _add(self, record: TrialRecord) -> None:
        self.trials[record.number] = record
        self.counts[record.status] = self.counts.get(record.status, 0) + 1
        if record.status.is_final:
            self.finished_live += 1
            self.last_at = max(self.last_at or "", record.ended_at or record.submitted_at)
        elif record.status.is_active:
            self.active.add(record.number)
        else:
            self._enqueue(record)

    def _enqueue(self, record: TrialRecord) -> None:
        if record.ready_at is None:
            heappush(self._ready, record.number)
        else:
            heappush(self._scheduled, (record.ready_at, record.number))

    def _allocate(self, command: Command) -> Outcome:
        """Set trial numbers aside for rows that come in as parts."""
        first = self.next_number
        self.next_number += command["count"]
        return accepted(first)

    def _import(self, command: Command) -> Outcome:
        """Take in finished trials whose rows stand in parts, under numbers set aside before."""
        refusal = self.manifest.refusal(command["parts"])
        if refusal is not None:
            return refusal
        twice = self._learn([bytes.fromhex(key) for key in command.get("keys", ())])
        if twice:
            return refused("duplicate", indexes=twice)
        self.manifest.add([{**body, "seq": self.seq} for body in command["parts"]])
        for status, count in command["counts"].items():
            self.counts[Status(status)] = self.counts.get(Status(status), 0) + count
        self.busy_us += command["busy_us"]
        self.first_at = min(filter(None, (self.first_at, command["first_at"])), default=None)
        self.last_at = max(filter(None, (self.last_at, command["last_at"])), default=None)
        return accepted()

    # Running

    def _claim(self, command: Command) -> Outcome:
        """Give the first claimable trial, or the named one, to the session."""
        number = command.get("trial")
        if number is None:
            number = self._next_claimable(command["at"])
            if number is None:
                return accepted()
        record, refusal = self._live(number)
        if record is None:
            return refusal
        if not record.status.is_claimable or (record.ready_at is not None and record.ready_at > command["at"]):
            return refused("transition", trial=number, status=record.status, asked=Status.RUNNING)
        self._start(record, Status.RUNNING, command, command.get("when") or command["at"])
        return accepted([number, record.attempt])

    def _next_claimable(self, at: str) -> int | None:
        while self._scheduled and self._scheduled[0][0] <= at:
            heappush(self._ready, heappop(self._scheduled)[1])
        while self._ready:
            record = self.trials.get(heappop(self._ready))
            if record is None or not record.status.is_claimable:
                continue
            if record.ready_at is None or record.ready_at <= at:
                return record.number
            # Due by the clock of an earlier command, and not yet by this one's.
            heappush(self._scheduled, (record.ready_at, record.number))
        return None

    def next_claim_at(self) -> str | None:
        """From when on a claim may get a trial: an empty text for at once, None when no claim does."""
        while self._ready:
            record = self.trials.get(self._ready[0])
            if record is not None and record.status.is_claimable:
                return ""
            heappop(self._ready)
        return self._scheduled[0][0] if self._scheduled else None

    def _start(self, record: TrialRecord, status: Status, command: Command, at: str) -> None:
        record.attempt += 1
        record.session = command["session"]
        record.worker = command.get("worker")
        record.started_at = at
        self._move(record, status, at)

    def _finish(self, command: Command) -> Outcome:
        """End the attempt that the command names, or keep it as a late result."""
        number, attempt, at = command["trial"], command["attempt"], command["at"]
        record, refusal = self._live(number)
        if record is None:
            return self._late(command, None, refusal)
        if record.attempt != attempt or not record.status.is_active:
            stale = "stale attempt" if record.attempt != attempt or not record.status.is_final else "finished"
            return self._late(
                command,
                record,
                refused(stale, trial=number, attempt=attempt, current_attempt=record.attempt, status=record.status),
            )
        record.ended_at = at = command.get("when") or at
        for name in command.keys() & _RESULT:
            setattr(record, name, command[name])
        self.busy_us += _microseconds(record.started_at, at)
        self._move(record, Status(command["status"]), at, command.get("reason"))
        return accepted(self.finished_live)

    def _late(self, command: Command, record: TrialRecord | None, outcome: Outcome) -> Outcome:
        """Keep what an attempt that no longer owns its trial reports."""
        number, attempt, at = command["trial"], command["attempt"], command["at"]
        last = self.manifest.attempts.get(number, 1) if record is None else record.attempt
        given_up = record is not None and any(ended["attempt"] == attempt for ended in record.attempts)
        if outcome.reason == "no trial" or (attempt >= last and not given_up):
            return outcome
        if record is not None:
            for ended in record.attempts:
                if ended["attempt"] == attempt:
                    ended["late"] = {name: command[name] for name in command.keys() & (_RESULT | {"status", "at"})}
            record.seq = self.seq
        self.changed = (self.seq, self.crc32)
        metrics = command.get("metrics", {})
        self.manifest.rows["metrics"].rows += [[number, attempt, name, None, at, metrics[name]] for name in metrics]
        self.manifest.rows["status"].rows.append([number, attempt, command["status"], at, None, "late result"])
        return outcome

    def _status(self, command: Command) -> Outcome:
        """Take a trial to another status, when its present one is the expected one and allows it."""
        record, refusal = self._live(command["trial"])
        if record is None:
            return refusal
        asked = Status(command["status"])
        at: str = command.get("when") or command["at"]
        attempt = command.get("attempt")
        if attempt is not None and attempt != record.attempt:
            return refused(
                "stale attempt",
                trial=record.number,
                attempt=attempt,
                current_attempt=record.attempt,
                status=record.status,
            )
        if command.get("was") not in (None, record.status) or not record.status.allows(asked):
            return refused("transition", trial=record.number, status=record.status, asked=asked)
        if asked.is_active and not record.status.is_active:
            self._start(record, asked, command, at)
            return accepted(record.attempt)
        if record.status.is_active and not asked.is_active:
            self._leave(record, asked, at)
        if asked.is_final:
            record.ended_at = at
        self._move(record, asked, at, command.get("reason"))
        return accepted(record.attempt)

    def _expire(self, command: Command) -> Outcome:
        """Take a trial from a session whose lease ran out, so that another one can claim it."""
        record, refusal = self._live(command["trial"])
        if record is None:
            return refusal
        if record.attempt != command["attempt"] or not record.status.is_active:
            return refused("stale attempt", trial=record.number, attempt=record.attempt, status=record.status)
        self._leave(record, Status.INTERRUPTED, command["at"], "lease expired")
        self._move(record, Status.INTERRUPTED, command["at"], "lease expired")
        return accepted(record.number)

    def _leave(self, record: TrialRecord, status: Status, at: str, reason: str | None = None) -> None:
        self.busy_us += _microseconds(record.started_at, at)
        if not status.is_final:
            ended = {"attempt": record.attempt, "session": record.session, "worker": record.worker}
            ended |= {"started_at": record.started_at, "ended_at": at, "status": status}
            record.attempts.append(ended if reason is None else {**ended, "reason": reason})

    def _move(self, record: TrialRecord, status: Status, at: str, reason: str | None = None) -> None:
        self.counts[record.status] -= 1
        self.counts[status] = self.counts.get(status, 0) + 1
        record.status = status
        record.seq = self.seq
        if status.is_active:
            self.active.add(record.number)
        else:
            self.active.discard(record.number)
            if status.is_final:
                record.session = None
                self.finished_live += 1
                self.last_at = max(self.last_at or "", at)
            elif status.is_claimable:
                record.session = None
                self._enqueue(record)
        self._log_status(record, at, reason)

    def _log_status(self, record: TrialRecord, at: str, reason: str | None = None) -> None:
        self.manifest.rows["status"].rows.append(
            [record.number, record.attempt, record.status, at, record.worker, reason]
        )

    def _live(self, number: int) -> tuple[TrialRecord, Outcome] | tuple[None, Outcome]:
        record = self.trials.get(number)
        if record is not None:
            return record, accepted()
        if self.manifest.part_of(number) is not None:
            return None, refused("finished", trial=number)
        return None, refused("no trial", trial=number)

    # Changing what is known of a trial

    def _annotate(self, command: Command) -> Outcome:
        """Merge attributes, extras and names of stored things into a trial that is not in a part."""
        record, refusal = self._live(command["trial"])
        if record is None:
            return refusal
        if "attributes" in command:
            record.attributes = {**(record.attributes or {}), **command["attributes"]}
        if "extras" in command:
            record.extras = {**(record.extras or {}), **command["extras"]}
        if "storage" in command:
            gone = command.get("gone", ())
            kept = dict.fromkeys([*(record.storage or ()), *command["storage"]])
            record.storage = [name for name in kept if name not in gone] or None
        record.seq = self.seq
        return accepted()

    def _assign(self, command: Command) -> Outcome:
        """Give a trial that has not ended to a runner when the expected one has it; tells who has it now."""
        record, refusal = self._live(command["trial"])
        if record is None:
            return refusal
        if record.status.is_final:
            return refused("finished", trial=record.number, status=record.status)
        if record.runner == command.get("was") and record.runner != command["runner"]:
            record.runner = command["runner"]
            record.seq = self.seq
        return accepted(record.runner)

    def _revive(self, command: Command) -> Outcome:
        """Bring a finished trial back from its part, so that it can be changed."""
        body: dict[str, Any] = command["record"]
        record = TrialRecord.from_json({name: body[name] for name in body.keys() & RECORD_FIELDS})
        if record.number in self.trials:
            return accepted()
        part = self.manifest.part_of(record.number)
        if part is None or part.id != command["part"]:
            return refused("part replaced", trial=record.number, part=None if part is None else part.id)
        self.manifest.supersede(part.id, record.number)
        record.seq = self.seq
        self.trials[record.number] = record
        self.finished_live += 1
        return accepted()

    # Rows and parts

    def _rows(self, command: Command) -> Outcome:
        self.manifest.rows[command["table"]].rows += command["rows"]
        return accepted()

    def _parts(self, command: Command) -> Outcome:
        refusal = self.manifest.refusal(command["parts"])
        if refusal is not None:
            return refusal
        self.manifest.announce(command["parts"], self.seq)
        return accepted()

    def _flush(self, command: Command) -> Outcome:
        """Move finished trials and rows from state into parts that hold them, wholly or not at all."""
        outcome = self.manifest.flush(command, self.trials)
        if outcome.reason is None:
            self.finished_live -= outcome.value
        return outcome

    def _replace(self, command: Command) -> Outcome:
        return self.manifest.replace(command, self.seq)

    def _forget(self, command: Command) -> Outcome:
        return self.manifest.forget(command)

    def _disown(self, command: Command) -> Outcome:
        return self.manifest.disown(command)

    def _retire_sessions(self, command: Command) -> Outcome:
        outcome = super()._retire_sessions(command)
        self.manifest.forget_disowned(self.retired_before)
        return outcome

    def _remove_artifacts(self, command: Command) -> Outcome:
        return self.manifest.remove_artifacts(command)

    def _retire_blobs(self, command: Command) -> Outcome:
        return self.manifest.retire_blobs(command)

    # Sessions and checkpoints

    def _is_quiet(self, command: Command) -> bool:
        idle = command["kind"] == "claim" and not any(self.counts.get(status) for status in _CLAIMABLE)
        return idle or super()._is_quiet(command)

    def _shows(self, command: Command, outcome: Outcome) -> bool:
        return super()._shows(command, outcome) and (command["kind"] != "claim" or outcome.value is not None)

    def is_busy(self, session: str) -> bool:
        """Whether the session holds a trial."""
        return any(self.trials[number].session == session for number in self.active)

    def size(self) -> int:
        """About how many lines a checkpoint has."""
        return 1 + len(self.trials) + sum(len(log.rows) for log in self.manifest.rows.values())

    def dump(self) -> list[Any]:
        """The whole state as JSON values."""
        (head,) = super().dump()
        known = b"".join(sorted(self._known)).hex()
        head |= {
            "repeats": self.repeats,
            "next_number": self.next_number,
            "counts": self.counts,
            "busy_us": self.busy_us,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "known": known,
            "trials": len(self.trials),
            "manifest": self.manifest.dump(),
        }
        return [head, *(record.to_json() for record in self.trials.values()), *self.manifest.dump_rows()]

    def load(self, lines: list[Any]) -> None:
        """Become the state that `dump` wrote."""
        EXPERIMENT_HEAD.require(lines[0])
        super().load(lines)
        head = lines[0]
        self.repeats = head["repeats"]
        self.next_number = head["next_number"]
        self.counts = {Status(status): count for status, count in head["counts"].items()}
        self.busy_us = head["busy_us"]
        self.first_at, self.last_at = head["first_at"], head["last_at"]
        known = bytes.fromhex(head["known"])
        self._known = {known[start : start + 16] for start in range(0, len(known), 16)}
        split = 1 + head["trials"]
        for body in lines[1:split]:
            RECORD.require(body)
        self.trials = {body["number"]: TrialRecord.from_json(body) for body in lines[1:split]}
        self.manifest = Manifest.load(head["manifest"], lines[split:])
        for record in self.trials.values():
            if record.status.is_final:
                self.finished_live += 1
            elif record.status.is_active:
                self.active.add(record.number)
            elif record.ready_at is None:
                self._ready.append(record.number)
            else:
                self._scheduled.append((record.ready_at, record.number))
        heapify(self._ready)
        heapify(self._scheduled)


_GIVEN = frozenset(GIVEN)
_CLAIMABLE = tuple(status for status in Status if status.is_claimable)
_RESULT = frozenset({"metrics", "summary", "exception", "traceback", "sem", "n", "profiles", "extras", "storage"})


def _microseconds(start: str | None, end: str) -> int:
    return 0 if start is None else max(0, (parse_time(end) - parse_time(start)) // _MICROSECOND)
