"""What the handles on one experiment share in one process: its journal, its buffer, and how refusals are told."""

from __future__ import annotations

import logging
import time
import weakref
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from trialstore.artifacts.store import Artifact
from trialstore.buffer import RowBuffer
from trialstore.journal.catalog import Catalog, ExperimentEntry
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.log import Log
from trialstore.journal.machine import Outcome
from trialstore.journal.stored import StoredJournal
from trialstore.model.errors import (
    BlobNotFoundError,
    ConflictError,
    DamagedError,
    DuplicateTrialError,
    LostTrialError,
    StaleRevisionError,
    TransitionError,
    TrialNotFoundError,
)
from trialstore.model.part import Part
from trialstore.model.ranges import in_ranges
from trialstore.model.record import TrialRecord
from trialstore.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

    from trialstore.query.snapshot import ExperimentSnapshot

__all__ = ["Ledger", "catalog_of", "ledger_of"]

_log = logging.getLogger(__name__)

FLUSH_TRIALS = 4096
"""So many finished trials in the journal's state are moved into a part."""

FLUSH_ROWS = 65536
"""So many rows of one table in the journal's state are moved into a part."""


TIDY_PARTS = 64
"""After so many parts that a process wrote it looks whether small ones should be merged."""

ROWS_CHECK = 256
"""How many finished trials pass between looks at the number of rows."""


class Ledger:
    """One experiment's journal and buffer.

    Args:
        session: Who writes, and where.
        entry: What the catalog says of the experiment.
    """

    def __init__(self, session: Session, entry: ExperimentEntry) -> None:
        self.session = session
        self.blobs = blobs = session.blobs
        self.entry = entry
        self.key = entry.key
        repeats = bool(entry.config["repeats"])
        self.journal: Journal[ExperimentState] = Journal(
            Log(blobs, f"experiment={self.key}"),
            Checkpoints(blobs, f"checkpoints/experiment={self.key}", session.retention_s),
            lambda: ExperimentState(repeats),
            session.id,
            writable=session.options.mode == "rw",
            # Weakly: the journal is held until the session that nobody uses is collected, and would keep it.
            opening=partial(_follow, weakref.ref(session), self.key),
        )
        self.buffer = RowBuffer(blobs, self.key)
        weakref.finalize(self, _commit_rest, self.buffer, self.journal)
        self._live: tuple[int, dict[str, pa.Table]] | None = None
        self._flush_is_due = False

    @property
    def mode(self) -> str:
        """What may be done with it: ``r`` to read, ``x`` for everything."""
        return "r" if self.session.options.mode == "r" else "x"

    @property
    def stored(self) -> StoredJournal[ExperimentState]:
        """The experiment's journal as it lies in storage, for maintenance."""
        repeats = bool(self.entry.config["repeats"])
        name = f"experiment={self.key}"
        return StoredJournal(self.blobs, name, lambda: ExperimentState(repeats), self.session.retention_s)

    def __reduce__(self) -> tuple[object, ...]:
        return ledger_of, (self.session, self.entry)

    # Writing

    def require_writable(self) -> None:
        """Refuse what a read-only store cannot do."""
        self.session.require_writable()

    def execute(self, *drafts: Draft, force: bool = True) -> list[Outcome]:
        """Commit what is buffered, then the commands; durable when it returns.

        Args:
            drafts: The commands.
            force: Where False, a crash of the machine may take them until the linger is over or a later call is
                durable, whatever comes first.
        """
        self.require_writable()
        self.buffer.hand_over(self.journal.post)
        outcomes = self.journal.execute(*drafts, force=force)
        if not force:
            self.session.linger(self)
        return outcomes

    def execute_one(self, draft: Draft, *, force: bool = True) -> Any:
        """Commit one command and return its value.

        Args:
            draft: The command.
            force: As for `execute`.

        Raises:
            ConflictError, TrialNotFoundError: the fold refused it.
        """
        *_, outcome = self.execute(draft, force=force)
        if outcome.reason is not None:
            self.refuse(outcome)
        return outcome.value

    def log_rows(self, table: str, rows: list[list[Any]]) -> None:
        """Buffer rows; they are durable with the next commit, at the latest after the linger."""
        self.require_writable()
        self.buffer.add(table, rows)
        self.session.linger(self)

    def log_telemetry(self, chunk: pa.Table) -> None:
        """Buffer a telemetry table, as `log_rows` does rows."""
        self.require_writable()
        self.buffer.add_telemetry(chunk)
        self.session.linger(self)

    def log_step(self, step: Draft) -> None:
        """Buffer a command, as `log_rows` does rows. The fold may refuse it, and nobody is told."""
        self.require_writable()
        self.buffer.add_step(step)
        self.session.linger(self)

    def settle(self) -> None:
        """Commit what is buffered when trials would otherwise be seen as they were before it."""
        if self.buffer.has_steps:
            self.commit_buffered()

    @property
    def has_waiting(self) -> bool:
        """Whether something is buffered, or posted and not committed."""
        return self.buffer.since is not None or self.journal.has_waiting

    def flush_lingering(self) -> None:
        """Commit what has waited for longer than the linger."""
        since = self.buffer.since
        if since is not None and time.monotonic() - since >= self.session.options.linger_s / 2:
            self.commit_buffered()
        else:
            self.journal.flush()  # what an earlier call posted and could not commit

    def commit_buffered(self) -> None:
        """Commit whatever is buffered now."""
        self.buffer.hand_over(self.journal.post)
        self.journal.flush()
        self.maintain(0)

    def maintain(self, finished_live: int) -> None:
        """See that the store is looked after, in the background, when it is on this process to do so.

        Whoever makes a number round does it for all; two that do it at once do no harm.

        Args:
            finished_live: How many finished trials are in the journal's state, for who has just finished one; else 0.
        """
        if not self.session.options.maintenance:
            return
        if finished_live > 0:
            if finished_live % FLUSH_TRIALS == 0:
                self._flush_is_due = True
            elif finished_live % ROWS_CHECK == 0:
                with self.journal.view(refresh=False) as state:
                    self._flush_is_due |= any(len(log.rows) >= FLUSH_ROWS for log in state.manifest.rows.values())
        if self._flush_is_due or self.buffer.parts_written >= TIDY_PARTS or self.journal.round_is_due:
            self.session.later(self.key, self._look_after)

    def _look_after(self) -> None:
        """Move finished trials into parts, merge small parts, and do a round of maintenance, where they are due."""
        from trialstore.maintenance.compact import tidy
        from trialstore.maintenance.flush import flush

        flush_is_due, self._flush_is_due = self._flush_is_due, False
        round_is_due = self.journal.take_round()
        self.buffer.parts_written = 0
        if flush_is_due:
            flush(self.blobs, self.key, self.journal)
        tidy(self.blobs, self.key, self.journal, timedelta(seconds=self.session.retention_s))
        if round_is_due:
            from trialstore.maintenance.round import Round

            run = Round(self.blobs, self.session.retention_s)
            run.experiment(self.key, self.stored, self.journal)
            catalog = StoredJournal(self.blobs, "catalog", Catalog, self.session.retention_s)
            run.catalog(catalog, catalog_of(self.session))

    def revive(self, number: int) -> None:
        """Bring a finished trial back from its part into the journal's state, so that it can be changed."""
        while True:
            with self.journal.view() as state:
                part = None if number in state.trials else state.manifest.part_of(number)
            if part is None:
                return
            record = self._read(part, number)
            if record is None:
                continue
            draft = Draft("revive", {"record": record.encoded().to_json(), "part": part.id})
            outcome = self.execute(draft)[-1]
            if outcome.reason is None:
                return
            if outcome.reason != "part replaced":
                self.refuse(outcome)

    def refuse(self, outcome: Outcome, **known: object) -> NoReturn:
        """Raise what a refusal means.

        Args:
            outcome: The refusal.
            known: Facts that the caller knows and the fold does not.
        """
        facts = {"experiment": self.entry.name, **known, **outcome.value}
        match outcome.reason:
            case "duplicate":
                raise DuplicateTrialError(
                    "a trial of these parameters exists already",
                    hint="get_trial(uid=id) gives it; create the experiment with repeats=True to allow repeats",
                    **facts,
                )
            case "finished":
                raise TransitionError("trial has already finished", hint="register a new trial", **facts)
            case "stale attempt":
                raise LostTrialError(
                    "trial is no longer owned by this session",
                    hint=f"its lease of {self.session.options.lease_s:g} s ran out or it was released; "
                    "what was reported is kept as a late result",
                    **facts,
                )
            case "transition":
                raise TransitionError("trial cannot take this step", **facts)
            case "stale revision":
                raise StaleRevisionError("somebody changed it first", hint="read it again", **facts)
            case "no trial":
                raise TrialNotFoundError("experiment has no such trial", **facts)
            case reason:
                raise ConflictError(str(reason), **facts)

    # Reading

    def record(self, number: int) -> TrialRecord | None:
        """One trial as it is now, wherever its row is."""
        while True:
            with self.journal.view() as state:
                record = state.trials.get(number)
                if record is not None:
                    return record.decoded()
                part = state.manifest.part_of(number)
            if part is None:
                return None
            found = self._read(part, number)
            if found is not None:
                return found

    def _read(self, part: Part, number: int) -> TrialRecord | None:
        """A trial's row in a part; None when the part was replaced, and deleted, since the caller looked."""
        from trialstore.tables.parts import read_records

        try:
            records = read_records(self.blobs, self.key, part, [number])
        except BlobNotFoundError:
            with self.journal.view() as state:
                if part.id in state.manifest.parts:
                    raise
            return None
        if len(records) != 1:
            raise DamagedError(
                "part has not the trial that the journal says it has", blob=part.blob_key(self.key), trial=number
            )
        return records[0]

    def artifacts(self, number: int) -> list[Artifact]:
        """Artifacts of a trial that were not deleted, oldest first."""
        if self.buffer.since is not None:
            self.commit_buffered()
        with self.journal.view() as state:
            manifest = state.manifest
            parts = [p for p in manifest.parts.values() if p.table == "artifacts" and in_ranges(number, p.trials)]
            live = [row for row in manifest.rows["artifacts"].rows if row[0] == number]
            removed = set(manifest.removed_artifacts)
        found = [Artifact(*row) for row in live]
        if parts:
            from trialstore.tables.artifacts import read_artifacts

            found += [Artifact(*row) for part in parts for row in read_artifacts(self.blobs, self.key, part, number)]
        folder = f"artifacts/experiment={self.key}/"
        strange = next((a for a in found if not str(a.path).startswith(folder)), None)
        if strange is not None:
            raise DamagedError(
                "an artifact's row names a blob outside its experiment",
                hint="do not trust this store",
                trial=number,
                name=strange.name,
                path=strange.path,
            )
        return sorted((a for a in found if a.id not in removed), key=lambda artifact: artifact.at)

    def snapshot(self, until: int | None = None, *, entry: ExperimentEntry | None = None) -> ExperimentSnapshot:
        """The experiment as it is now, or as it was after the commit `until`; buffered rows are committed first.

        Args:
            until: A sequence number. Files of that time may be deleted: `trialstore.past` looks.
            entry: What the catalog says, or said, of the experiment; what the ledger knows by default.
        """
        if until is not None:
            return self.view_of(self.journal.at(until), entry or self.entry)
        if self.buffer.since is not None:
            self.commit_buffered()
        with self.journal.view() as state:
            return self.view_of(state, entry or self.entry, self._live_tables(state))

    def view_of(
        self, state: ExperimentState, entry: ExperimentEntry, live: dict[str, pa.Table] | None = None
    ) -> ExperimentSnapshot:
        """A state, frozen."""
        from trialstore.query.snapshot import ExperimentSnapshot
        from trialstore.tables.live import live_tables

        manifest = state.manifest
        return ExperimentSnapshot(
            id=entry.id,
            name=entry.name,
            version=entry.version,
            key=self.key,
            metadata={**entry.config, "created_at": entry.created_at, "counts": dict(state.counts)},
            seq=state.seq,
            changed=state.changed,
            described=entry.seq,
            parts=tuple(manifest.parts.values()),
            superseded={part: frozenset(numbers) for part, numbers in manifest.superseded.items()},
            removed_artifacts=frozenset(manifest.removed_artifacts),
            removed_trials=frozenset(manifest.removed_trials),
            live=live_tables(state) if live is None else live,
            live_after=manifest.rows["telemetry"].start,
        )

    def _live_tables(self, state: ExperimentState) -> dict[str, pa.Table]:
        if self._live is None or self._live[0] != state.seq:
            from trialstore.tables.live import live_tables

            self._live = (state.seq, live_tables(state))
        return self._live[1]


def _follow(session: weakref.ref[Session], key: str, identity: str) -> None:
    """See `Session.follow`; a session that was collected holds no trial."""
    living = session()
    if living is not None:
        living.follow(key, identity)


def _commit_rest(buffer: RowBuffer, journal: Journal[ExperimentState]) -> None:
    """Commit what is buffered when the last handle is collected, or the process ends."""
    buffer.hand_over(journal.post)
    journal.flush()


def catalog_of(session: Session) -> Journal[Catalog]:
    """The one journal of the catalog that this session has."""

    def make() -> Journal[Catalog]:
        checkpoints = Checkpoints(session.blobs, "checkpoints/catalog", session.retention_s)
        writable = session.options.mode == "rw"
        return Journal(Log(session.blobs, "catalog"), checkpoints, Catalog, session.id, writable=writable)

    journal: Journal[Catalog] = session.writer("catalog", make)
    return journal


def ledger_of(session: Session, entry: ExperimentEntry) -> Ledger:
    """The one ledger that this session has of an experiment, brought up to what the catalog says now."""
    ledger: Ledger = session.writer(f"experiment={entry.key}", lambda: Ledger(session, entry))
    if ledger.entry.revision < entry.revision:
        ledger.entry = entry
    return ledger
