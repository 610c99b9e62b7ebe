"""What must hold, in plain Python: the fold of `docs/FORMAT.md` written a second time, from the page alone.

It shares no code with the store. It keeps what the store cannot: every row that ever counted, and the whole story of
each trial.
"""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

CLAIMABLE = {"PENDING", "SUSPENDED", "INTERRUPTED"}
ACTIVE = {"READY", "RUNNING"}
FINAL = {"SUCCEEDED", "PRUNED", "FAILED", "CRASHED", "CANCELED", "TIMED_OUT"}
STEPS = {
    "PENDING": {"READY", "RUNNING", "SUSPENDED", "CANCELED", "FAILED"},
    "SUSPENDED": {"PENDING", "READY", "RUNNING", "CANCELED", "FAILED"},
    "INTERRUPTED": {"PENDING", "SUSPENDED", "READY", "RUNNING", "CANCELED", "FAILED"},
    "READY": (CLAIMABLE | ACTIVE | FINAL) - {"READY"},
    "RUNNING": (CLAIMABLE | ACTIVE | FINAL) - {"RUNNING"},
    "UNKNOWN": CLAIMABLE | ACTIVE | FINAL,
}
RESULT = ("metrics", "summary", "exception", "traceback", "sem", "n", "profiles", "extras", "storage")
TABLES = ("metrics", "telemetry", "status", "artifacts")


class BrokenError(Exception):
    """Something that must hold does not.

    Attributes:
        check: The check that found it.
    """

    check = "fold"


@dataclass
class Commit:
    """A commit as the page describes it."""

    seq: int
    commands: list[dict[str, Any]]
    crc32: int


def read_commit(data: bytes, seq: int, previous: int) -> Commit:
    """The commit in a blob, checked against the one before it."""
    head, _, lines = data.partition(b"\n")
    header = json.loads(head)
    crc32 = zlib.crc32(lines, zlib.crc32(str(seq).encode(), previous))
    if (header["seq"], header["previous"], header["crc32"]) != (seq, f"{previous:08x}", f"{crc32:08x}"):
        raise BrokenError(f"commit {seq} does not follow: {header}, expected previous {previous:08x}")
    return Commit(seq, [json.loads(line) for line in lines.splitlines()], crc32)


@dataclass
class Verdict:
    """What the model says of a command: None as reason when it took effect."""

    reason: str | None
    value: Any = None


@dataclass
class ModelTrial:
    """All that is decided about a trial, wherever its row is."""

    number: int
    fields: dict[str, Any]
    status: str
    seq: int
    submitted_at: str
    attempt: int = 0
    session: str | None = None
    worker: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    in_part: str | None = None

    def facts(self) -> dict[str, Any]:
        """What any reader must see of it."""
        return {
            "params": self.fields["params"],
            "status": self.status,
            "attempt": self.attempt,
            "worker": self.worker,
            "submitted_at": self.submitted_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "metrics": self.result.get("metrics", {}),
            "attributes": self.attributes,
            "attempts": json.loads(json.dumps(self.attempts)),
            "seq": self.seq,
        }


class Model:
    """The state of an experiment, folded command by command.

    Attributes:
        rows: By table, every row that counts, in the order it came: trial, attempt and what tells rows apart.
        pending_rows: How many of them are in no part, by table, and where that log began.
        parts: Live parts: table and trial numbers.
        retired: Parts that were live, with their table and the commit that replaced them.
        versions: Of each trial, all it ever was, with the sequence number it was so from.
    """

    def __init__(self, repeats: bool, rows_of: Callable[[str, str], list[tuple[Any, ...]]]) -> None:
        self.repeats = repeats
        self.rows_of = rows_of
        self.seq = -1
        self.crc32 = 0
        self.sessions: dict[str, list[Any]] = {}
        self.retired_before = ""
        self.documents: dict[str, tuple[int, Any]] = {}
        self.trials: dict[int, ModelTrial] = {}
        self.known: set[str] = set()
        self.rows: dict[str, Counter[Any]] = {table: Counter() for table in TABLES}
        self.log_start = dict.fromkeys(TABLES, 0)
        self.log_count = dict.fromkeys(TABLES, 0)
        self.parts: dict[str, str] = {}
        self.stale: dict[str, set[int]] = {}
        self.holds: dict[str, set[int]] = {}
        self.retired: dict[str, tuple[str, int]] = {}
        self.removed: set[str] = set()
        self.versions: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        self.claims: list[tuple[int, int, str]] = []
        self.lease_ends: list[tuple[int, int, str, str, int]] = []

    def fold(self, data: bytes, seq: int) -> list[tuple[dict[str, Any], Verdict]]:
        """Apply a commit; each command with what becomes of it."""
        commit = read_commit(data, seq, self.crc32)
        self.seq, self.crc32 = seq, commit.crc32
        return [(command, self.apply(command)) for command in commit.commands]

    def apply(self, command: dict[str, Any]) -> Verdict:
        session, counter = command["session"], command["counter"]
        if session not in self.sessions:
            if not command.get("opens") or command["at"] < self.retired_before:
                return Verdict("session expired")
        elif counter <= self.sessions[session][0]:
            return Verdict("already applied")
        self.sessions[session] = [counter, command["at"]]
        verdict: Verdict = getattr(self, f"do_{command['kind']}")(command)
        return verdict

    # Every journal

    def do_document(self, c: dict[str, Any]) -> Verdict:
        revision = self.documents.get(c["name"], (0, None))[0]
        if c["revision"] not in (None, revision):
            return Verdict("stale revision")
        self.documents[c["name"]] = (revision + 1, c["value"])
        return Verdict(None, revision + 1)

    def do_retire_sessions(self, c: dict[str, Any]) -> Verdict:
        holders = {trial.session for trial in self.trials.values() if trial.status in ACTIVE}
        idle = [s for s, (_, at) in self.sessions.items() if at < c["before"] and s not in holders]
        idle = [s for s in idle if s != c["session"]]
        for session in idle:
            del self.sessions[session]
        self.retired_before = max(self.retired_before, c["before"])
        return Verdict(None, len(idle))

    # Trials

    def do_register(self, c: dict[str, Any]) -> Verdict:
        if not self.repeats:
            keys = [body["id"] for body in c["trials"]]
            if len(set(keys)) < len(keys) or self.known & set(keys):
                return Verdict("duplicate")
            self.known |= set(keys)
        first = self.next_number()
        for body in c["trials"]:
            number = self.next_number()
            trial = ModelTrial(number, body, "PENDING", self.seq, c["at"], attributes=body.get("attributes", {}))
            self.trials[number] = trial
            self.note_status(trial, c["at"])
            self.remember(trial)
            if c.get("claimed"):
                self.start(trial, "RUNNING", c, c["at"])
        return Verdict(None, first)

    def next_number(self) -> int:
        return len(self.trials)

    def do_claim(self, c: dict[str, Any]) -> Verdict:
        number = c.get("trial")
        if number is None:
            ready = [n for n, trial in self.trials.items() if self.may_claim(trial, c["at"])]
            if not ready:
                return Verdict(None, None)
            number = min(ready)
        else:
            refusal = self.not_live(number)
            if refusal:
                return refusal
            if not self.may_claim(self.trials[number], c["at"]):
                return Verdict("transition")
        trial = self.trials[number]
        self.start(trial, "RUNNING", c, c["at"])
        return Verdict(None, [number, trial.attempt])

    def may_claim(self, trial: ModelTrial, at: str) -> bool:
        ready_at = trial.fields.get("ready_at")
        return trial.in_part is None and trial.status in CLAIMABLE and (ready_at is None or ready_at <= at)

    def start(self, trial: ModelTrial, status: str, c: dict[str, Any], at: str) -> None:
        trial.attempt += 1
        trial.session, trial.worker, trial.started_at = c["session"], c.get("worker"), at
        self.claims.append((trial.number, trial.attempt, c["session"]))
        self.move(trial, status, at)

    def do_finish(self, c: dict[str, Any]) -> Verdict:
        number, attempt = c["trial"], c["attempt"]
        trial = self.trials.get(number)
        if trial is None:
            return Verdict("no trial")
        if trial.in_part is None and trial.attempt == attempt and trial.status in ACTIVE:
            trial.ended_at = c["at"]
            trial.result |= {name: c[name] for name in RESULT if name in c}
            self.move(trial, c["status"], c["at"], c.get("reason"))
            return Verdict(None, sum(1 for t in self.trials.values() if t.in_part is None and t.status in FINAL))
        if attempt > trial.attempt:
            raise BrokenError("an attempt that never was")
        if trial.in_part is not None:
            reason = "finished"
        elif trial.attempt != attempt or trial.status not in FINAL:
            reason = "stale attempt"
        else:
            reason = "finished"
        given_up = trial.in_part is None and any(ended["attempt"] == attempt for ended in trial.attempts)
        if attempt >= trial.attempt and not given_up:
            return Verdict(reason)
        # What an attempt reports that lost its trial is kept.
        if trial.in_part is None:
            for ended in trial.attempts:
                if ended["attempt"] == attempt:
                    ended["late"] = {name: c[name] for name in (*RESULT, "status", "at") if name in c}
            trial.seq = self.seq
            self.remember(trial)
        for name, value in c.get("metrics", {}).items():
            self.add_row("metrics", [number, attempt, name, None, c["at"], value])
        self.add_row("status", [number, attempt, c["status"], c["at"], None, "late result"])
        return Verdict(reason)

    def do_status(self, c: dict[str, Any]) -> Verdict:
        refusal = self.not_live(c["trial"])
        if refusal:
            return refusal
        trial, asked, at = self.trials[c["trial"]], c["status"], c.get("when") or c["at"]
        if c.get("attempt") not in (None, trial.attempt):
            return Verdict("stale attempt")
        if c.get("was") not in (None, trial.status) or asked not in STEPS.get(trial.status, set()):
            return Verdict("transition")
        if asked in ACTIVE and trial.status not in ACTIVE:
            self.start(trial, asked, c, at)
            return Verdict(None, trial.attempt)
        if trial.status in ACTIVE and asked not in ACTIVE | FINAL:
            self.leave(trial, asked, at, None)
        if asked in FINAL:
            trial.ended_at = at
        self.move(trial, asked, at, c.get("reason"))
        return Verdict(None, trial.attempt)

    def do_expire(self, c: dict[str, Any]) -> Verdict:
        refusal = self.not_live(c["trial"])
        if refusal:
            return refusal
        trial = self.trials[c["trial"]]
        if trial.attempt != c["attempt"] or trial.status not in ACTIVE:
            return Verdict("stale attempt")
        ended = (trial.number, trial.attempt, str(trial.session), str(trial.worker), c["sim"])
        self.lease_ends.append(ended)
        self.leave(trial, "INTERRUPTED", c["at"], "lease expired")
        self.move(trial, "INTERRUPTED", c["at"], "lease expired")
        return Verdict(None, trial.number)

    def leave(self, trial: ModelTrial, status: str, at: str, reason: str | None) -> None:
        ended = {"attempt": trial.attempt, "session": trial.session, "worker": trial.worker}
        ended |= {"started_at": trial.started_at, "ended_at": at, "status": status}
        trial.attempts.append(ended if reason is None else {**ended, "reason": reason})

    def move(self, trial: ModelTrial, status: str, at: str, reason: str | None = None) -> None:
        trial.status, trial.seq = status, self.seq
        if status not in ACTIVE:
            trial.session = None
        self.note_status(trial, at, reason)
        self.remember(trial)

    def note_status(self, trial: ModelTrial, at: str, reason: str | None = None) -> None:
        self.add_row("status", [trial.number, trial.attempt, trial.status, at, trial.worker, reason])

    def not_live(self, number: int) -> Verdict | None:
        if number not in self.trials:
            return Verdict("no trial")
        return None if self.trials[number].in_part is None else Verdict("finished")

    def do_annotate(self, c: dict[str, Any]) -> Verdict:
        refusal = self.not_live(c["trial"])
        if refusal:
            return refusal
        trial = self.trials[c["trial"]]
        trial.attributes = {**trial.attributes, **c.get("attributes", {})}
        trial.seq = self.seq
        self.remember(trial)
        return Verdict(None)

    def do_revive(self, c: dict[str, Any]) -> Verdict:
        number = c["record"]["number"]
        trial = self.trials[number]
        if trial.in_part is None:
            return Verdict(None)
        if trial.in_part != c["part"]:
            return Verdict("part replaced")
        self.stale.setdefault(trial.in_part, set()).add(number)
        trial.in_part, trial.seq = None, self.seq
        self.remember(trial)
        return Verdict(None)

    def remember(self, trial: ModelTrial) -> None:
        self.versions.setdefault(trial.number, []).append((self.seq, trial.facts()))

    # Rows and parts

    def add_row(self, table: str, row: list[Any]) -> None:
        self.rows[table][mark_of(table, row)] += 1
        self.log_count[table] += 1

    def do_rows(self, c: dict[str, Any]) -> Verdict:
        for row in c["rows"]:
            self.add_row(c["table"], row)
        return Verdict(None)

    def do_parts(self, c: dict[str, Any]) -> Verdict:
        for body in c["parts"]:
            self.announce(body)
            for row in self.rows_of(body["table"], body["id"]):
                self.rows[body["table"]][row] += 1
        return Verdict(None)

    def announce(self, body: dict[str, Any]) -> None:
        if body["id"] in self.parts or body["id"] in self.retired:
            raise BrokenError(f"part {body['id']} is announced twice")
        self.parts[body["id"]] = body["table"]
        self.holds[body["id"]] = {n for first, last in body["trials"] for n in range(first, last + 1)}

    def do_flush(self, c: dict[str, Any]) -> Verdict:
        for table, (start, count) in c["rows"].items():
            if self.log_start[table] != start or count > self.log_count[table]:
                return Verdict("already flushed")
        numbers = [n for first, last in c["trials"] for n in range(first, last + 1)]
        for number in numbers:
            trial = self.trials.get(number)
            if trial is None or trial.in_part is not None or trial.status not in FINAL:
                return Verdict("already flushed")
        for body in c["parts"]:
            self.announce(body)
        for table, (_, count) in c["rows"].items():
            self.log_start[table] += count
            self.log_count[table] -= count
        part = next((body["id"] for body in c["parts"] if body["table"] == "trials"), None)
        moved = 0
        for number in numbers:
            if self.trials[number].seq <= c["seq"]:
                self.trials[number].in_part = part
                moved += 1
            else:
                self.stale.setdefault(str(part), set()).add(number)
        return Verdict(None, moved)

    def do_replace(self, c: dict[str, Any]) -> Verdict:
        if any(part not in self.parts for part in c["remove"]):
            return Verdict("part replaced")
        stale: set[int] = set()
        for part in c["remove"]:
            self.retired[part] = (self.parts.pop(part), self.seq)
            stale |= self.stale.pop(part, set()) - set(c["dropped"].get(part, ()))
        for body in c["add"]:
            self.announce(body)
            if body["table"] == "trials":
                inside = self.holds[body["id"]]
                if stale & inside:
                    self.stale[body["id"]] = stale & inside
                for number in inside - stale:
                    if self.trials[number].in_part in c["remove"]:
                        self.trials[number].in_part = body["id"]
        for trial in self.trials.values():
            if trial.in_part in c["remove"]:
                raise BrokenError(f"trial {trial.number} was lost by a merge")
        return Verdict(None)

    def do_forget(self, c: dict[str, Any]) -> Verdict:
        return Verdict(None)

    def do_remove_artifacts(self, c: dict[str, Any]) -> Verdict:
        self.removed |= set(c["ids"])
        return Verdict(None)

    def do_retire_blobs(self, c: dict[str, Any]) -> Verdict:
        return Verdict(None)

    # What a reader must find

    def all_rows(self) -> dict[str, Counter[Any]]:
        """Every row of every table, once."""
        found = {table: Counter(rows) for table, rows in self.rows.items()}
        found["artifacts"] = Counter(
            {row: n for row, n in self.rows["artifacts"].items() if row[2] not in self.removed}
        )
        found["trials"] = Counter(trial_mark(number, trial.facts()) for number, trial in self.trials.items())
        return found


def trial_mark(number: int, facts: dict[str, Any]) -> tuple[Any, ...]:
    """What of a trial's row is compared."""
    loss = facts["metrics"].get("loss")
    attributes = json.dumps(facts["attributes"], sort_keys=True)
    late = json.dumps(facts["attempts"], sort_keys=True)
    return (number, facts["status"], facts["attempt"], loss, facts["params"].get("x"), attributes, late, facts["seq"])


def mark_of(table: str, row: list[Any]) -> tuple[Any, ...]:
    """What tells a row of the journal from all others."""
    if table == "metrics":
        trial, attempt, name, step, at, value = row
        return (trial, attempt, name, step, at, value)
    if table == "telemetry":
        trial, attempt, at, name, value = row
        return (trial, attempt, at, name, value)
    if table == "status":
        return tuple(row)
    return (row[0], row[1], row[8], row[3])


def table_rows(table: str, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The marks of rows that were read from Parquet or Arrow."""
    if table == "trials":
        return [
            trial_mark(
                row["trial"],
                {
                    "status": row["status"],
                    "attempt": row["attempt"],
                    "metrics": row["metrics"],
                    "params": row["params"],
                    "attributes": json.loads(row["attributes"] or "{}"),
                    "attempts": json.loads(row["attempts"] or "[]"),
                    "seq": row["seq"],
                },
            )
            for row in rows
        ]
    if table == "metrics":
        return [(r["trial"], r["attempt"], r["name"], r["step"], spelled(r["at"]), r["value"]) for r in rows]
    if table == "telemetry":
        return [(r["trial"], r["attempt"], spelled(r["at"]), r["name"], r["value"]) for r in rows]
    if table == "status":
        return [(r["trial"], r["attempt"], r["status"], spelled(r["at"]), r["worker"], r["reason"]) for r in rows]
    return [(r["trial"], r["attempt"], r["id"], r["path"]) for r in rows]


def spelled(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_rows(table: str, data: bytes) -> list[tuple[Any, ...]]:
    """The marks of the rows in a part."""
    return table_rows(table, pq.read_table(io.BytesIO(data)).to_pylist())
