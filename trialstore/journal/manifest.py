"""Which parts are live, which rows are in none, and which rows of a part no longer count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialstore.journal.arrival import cut_between, extent_of, merged_over
from trialstore.journal.commit import Command
from trialstore.journal.machine import Outcome, accepted, refused
from trialstore.journal.rowlog import RowLog
from trialstore.journal.shapes import ROW
from trialstore.model.part import TABLES, Part
from trialstore.model.ranges import in_ranges, iterate_ranges
from trialstore.model.record import TrialRecord

__all__ = ["Manifest"]

ROW_TABLES = tuple(table for table in TABLES if table != "trials")

ARTIFACT_PATH, ARTIFACT_ID = 3, 8
"""Where a row of the artifacts table has its path and its id."""


class Manifest:
    """The tables of one experiment as its journal knows them.

    Every row is in exactly one live place: a row log, the state's trials, or a live part where it is not superseded.

    Attributes:
        parts: Live parts by id.
        rows: Rows that are in no part, by table.
        superseded: Trials whose row in a trials part was overtaken by a newer one, by part.
        removed_artifacts: Ids of artifacts that were deleted, but whose rows still stand in a log or a part.
        retired_blobs: Blobs of artifacts that no row named when a vacuum looked, with the time: whoever stores the same
            bytes again takes another path, so that they can be deleted.
        retired: Parts that a compaction replaced and whose files were not deleted yet, with the time.
        replaced_by: The number of the commit that replaced each of them, where it is known.
        attempts: By trial that went into a part, the attempt before which results are late ones: the last, or the one
            after it when the last had ended before the trial did. Left out where it is the first.
        removed_trials: Numbers of trials that were taken out; no row of theirs counts, in whatever table it stands.
        disowned: Parts that were never announced and never can be any more, since their files are deleted, with the
            time.
    """

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.rows: dict[str, RowLog] = {table: RowLog() for table in ROW_TABLES}
        self.superseded: dict[str, set[int]] = {}
        self.removed_artifacts: set[str] = set()
        self.retired_blobs: dict[str, str] = {}
        self.retired: dict[str, list[str]] = {}
        self.replaced_by: dict[str, int] = {}
        self.attempts: dict[int, int] = {}
        self.disowned: dict[str, str] = {}
        self.removed_trials: set[int] = set()

    def part_of(self, number: int) -> Part | None:
        """The part that holds the counting row of a trial, if one does."""
        for part in self.parts.values():
            if (
                part.table == "trials"
                and in_ranges(number, part.trials)
                and number not in self.superseded.get(part.id, ())
            ):
                return part
        return None

    def refusal(self, bodies: list[dict[str, Any]]) -> Outcome | None:
        """Why parts cannot be announced, None when they can."""
        gone = [body["id"] for body in bodies if body["id"] in self.disowned]
        return refused("part disowned", parts=gone) if gone else None

    def disown(self, command: Command) -> Outcome:
        """Have parts never be announced; gives back those whose files may now be deleted."""
        free = [part for part in command["parts"] if part not in self.parts and part not in self.retired]
        self.disowned.update(dict.fromkeys(free, command["at"]))
        return accepted(free)

    def forget_disowned(self, before: str) -> None:
        """Forget parts disowned earlier: whoever could still announce them is forgotten as well."""
        self.disowned = {part: at for part, at in self.disowned.items() if at >= before}

    def add(self, bodies: list[dict[str, Any]]) -> None:
        """Announce parts."""
        for body in bodies:
            part = Part.from_json(body)
            self.parts[part.id] = part

    def announce(self, bodies: list[dict[str, Any]], seq: int) -> None:
        """Announce parts that came with the commit `seq`."""
        log = self.rows["telemetry"]
        came = log.start + len(log.rows)
        # Their place in the order of all rows is known only now.
        self.add([{**body, "seq": seq, **({"after": came} if body["table"] == "telemetry" else {})} for body in bodies])

    def supersede(self, part_id: str, number: int) -> None:
        """A row of a part no longer counts: a newer one is elsewhere."""
        self.superseded.setdefault(part_id, set()).add(number)

    def flush(self, command: Command, trials: dict[int, TrialRecord]) -> Outcome:
        """Drop from `trials` and the row logs what the announced parts hold; gives back how many trials went."""
        for table, (start, count) in command["rows"].items():
            log = self.rows[table]
            if log.start != start or count > len(log.rows):
                return refused("already flushed", table=table, start=log.start, asked=start)
        refusal = self.refusal(command["parts"])
        if refusal is not None:
            return refusal
        numbers = []
        for number in iterate_ranges(command["trials"]):
            record = trials.get(number)
            if record is None or not record.status.is_final:
                return refused("already flushed", trial=number)
            numbers.append(number)
        if self._cuts_wrongly(command):
            return refused("part between")
        trials_part = next((body["id"] for body in command["parts"] if body["table"] == "trials"), None)
        self.add(command["parts"])
        for table, (_, count) in command["rows"].items():
            self.rows[table].drop(count)
        moved = 0
        for number in numbers:
            if trials[number].seq <= command["seq"]:
                record = trials.pop(number)
                given_up = any(ended["attempt"] == record.attempt for ended in record.attempts)
                if record.attempt > 1 or given_up:
                    self.attempts[number] = record.attempt + given_up
                moved += 1
            elif trials_part is not None:
                self.supersede(trials_part, number)
        return accepted(moved)

    def _cuts_wrongly(self, command: Command) -> bool:
        """Whether a part came between rows that a flush puts into one part and that may hold samples of it."""
        if "telemetry" not in command["rows"]:
            return False
        start, count = command["rows"]["telemetry"]
        pieces = sorted(
            (Part.from_json(body) for body in command["parts"] if body["table"] == "telemetry"),
            key=lambda piece: piece.after,
        )
        ends = [*(piece.after for piece in pieces[1:]), start + count]
        there = [part for part in self.parts.values() if part.table == "telemetry"]
        return any(
            cut_between(extent_of(piece), piece.after, end, there) is not None
            for piece, end in zip(pieces, ends, strict=True)
        )

    def replace(self, command: Command, seq: int) -> Outcome:
        """Put parts in the place of others that are all still live, by the commit `seq`."""
        gone = [part_id for part_id in command["remove"] if part_id not in self.parts]
        if gone:
            return refused("part replaced", parts=gone)
        refusal = self.refusal(command["add"])
        if refusal is not None:
            return refusal
        removed = {part_id: self.parts[part_id] for part_id in command["remove"]}
        if any(part.table == "telemetry" for part in removed.values()):
            others = [part for part in self.parts.values() if part.table == "telemetry" and part.id not in removed]
            between = merged_over(removed.values(), others)
            if between:
                return refused("part between", parts=[part.id for part in between])
        stale: set[int] = set()
        for part_id in command["remove"]:
            part = self.parts.pop(part_id)
            self.retired[part_id] = [part.table, command["at"]]
            self.replaced_by[part_id] = seq
            stale |= self.superseded.pop(part_id, set()) - set(command["dropped"].get(part_id, ()))
        self.add(command["add"])
        for body in command["add"]:
            part = self.parts[body["id"]]
            inside = {number for number in stale if part.table == "trials" and in_ranges(number, part.trials)}
            if inside:
                self.superseded[part.id] = inside
        still_here = {row[ARTIFACT_ID] for row in self.rows["artifacts"].rows}
        new = {body["id"] for body in command["add"]}
        if not any(part.table == "artifacts" and part.id not in new for part in self.parts.values()):
            # Another part may hold these rows, which a flush put there since the compaction looked.
            self.removed_artifacts -= set(command["dropped_artifacts"]) - still_here
        return accepted()

    def forget(self, command: Command) -> Outcome:
        """The files of retired parts and blobs were deleted, or a blob that was retired is named after all."""
        for part_id in command["parts"]:
            self.retired.pop(part_id, None)
            self.replaced_by.pop(part_id, None)
        for path in command.get("blobs", ()):
            self.retired_blobs.pop(path, None)
        return accepted()

    def retire_blobs(self, command: Command) -> Outcome:
        """Take blobs out of use, or claim retired ones for deletion; gives back those that were as the command says."""
        mine = [path for path, at in command["blobs"].items() if self.retired_blobs.get(path) == at]
        self.retired_blobs.update(dict.fromkeys(mine, command["at"]))
        return accepted(mine)

    def remove_artifacts(self, command: Command) -> Outcome:
        """Artifacts of these ids are deleted."""
        # The rows stay where they are and are masked: a flush counts rows, so none may vanish from a log.
        self.removed_artifacts.update(command["ids"])
        return accepted()

    def dump(self) -> dict[str, Any]:
        """Everything but the rows, as JSON values."""
        return {
            "parts": [part.to_json() for part in self.parts.values()],
            "superseded": {part_id: sorted(numbers) for part_id, numbers in self.superseded.items()},
            "removed_artifacts": sorted(self.removed_artifacts),
            "retired": self.retired,
            **({"replaced_by": self.replaced_by} if self.replaced_by else {}),
            **({"retired_blobs": self.retired_blobs} if self.retired_blobs else {}),
            **({"disowned": self.disowned} if self.disowned else {}),
            **({"removed_trials": sorted(self.removed_trials)} if self.removed_trials else {}),
            "attempts": list(self.attempts.items()),
            "rows": {table: [log.start, len(log.rows)] for table, log in self.rows.items()},
        }

    def dump_rows(self) -> list[Any]:
        """The rows that are in no part, table after table."""
        return [row for log in self.rows.values() for row in log.rows]

    @classmethod
    def load(cls, head: Mapping[str, Any], rows: list[Any]) -> Manifest:
        """The manifest that `dump` and `dump_rows` described."""
        manifest = cls()
        manifest.add(head["parts"])
        manifest.superseded = {part_id: set(numbers) for part_id, numbers in head["superseded"].items()}
        manifest.removed_artifacts = set(head["removed_artifacts"])
        manifest.retired_blobs = dict(head.get("retired_blobs", {}))
        manifest.retired = dict(head["retired"])
        manifest.replaced_by = dict(head.get("replaced_by", {}))
        manifest.disowned = dict(head.get("disowned", {}))
        manifest.removed_trials = set(head.get("removed_trials", ()))
        manifest.attempts = dict(head["attempts"])
        position = 0
        for table, (start, count) in head["rows"].items():
            here = rows[position : position + count]
            for row in here:
                ROW[table].require(row)
            manifest.rows[table] = RowLog(start, here)
            position += count
        return manifest
