"""Guarantees broken on purpose, one at a time, to see that the simulation finds each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.simulation.storage import SimulatedBlobs
from trialstore.buffer import RowBuffer
from trialstore.journal.batch import Batch
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Journal
from trialstore.journal.machine import Machine, accepted
from trialstore.journal.manifest import Manifest
from trialstore.journal.replica import Replica
from trialstore.journal.retention import Watch
from trialstore.journal.rowlog import RowLog
from trialstore.maintenance import compact, flush, replaced
from trialstore.session import Leases, Session


def counters_are_not_checked() -> Any:
    """The fold applies a command as often as it comes."""
    once = Machine._once

    def apply(self: Machine, command: dict[str, Any]) -> Any:
        if command["session"] in self.sessions:
            self.sessions[command["session"]][0] = -1
        return once(self, command)

    return patch.object(Machine, "_once", apply)


def attempts_are_not_checked() -> Any:
    """A late result of an earlier attempt ends the present one."""
    finish = ExperimentState._finish

    def apply(self: ExperimentState, command: dict[str, Any]) -> Any:
        record = self.trials.get(command["trial"])
        return finish(self, command if record is None else {**command, "attempt": record.attempt})

    return patch.object(ExperimentState, "_finish", apply)


def running_trials_are_claimed() -> Any:
    """A trial stays claimable after it was claimed."""
    claim = ExperimentState._claim

    def apply(self: ExperimentState, command: dict[str, Any]) -> Any:
        outcome = claim(self, command)
        if outcome.reason is None and outcome.value is not None:
            self._ready.insert(0, outcome.value[0])
        return outcome

    again = patch.object(ExperimentState, "_claim", apply)
    lax = patch.object(ExperimentState, "_next_claimable", lambda self, at: min(self._ready, default=None))
    return _both(again, lax)


def flush_ignores_where_the_log_begins() -> Any:
    """Of two flushes of the same rows both count."""
    apply = Manifest.flush

    def lax(self: Manifest, command: dict[str, Any], trials: Any) -> Any:
        rows = {t: [self.rows[t].start, min(n, len(self.rows[t].rows))] for t, (_, n) in command["rows"].items()}
        return apply(self, {**command, "rows": rows}, trials)

    return patch.object(Manifest, "flush", lax)


def flush_drops_what_changed_meanwhile() -> Any:
    """A trial that changed after the flush looked goes too."""
    apply = Manifest.flush
    return patch.object(
        Manifest, "flush", lambda self, command, trials: apply(self, {**command, "seq": 1 << 60}, trials)
    )


def parts_are_announced_before_they_are_written() -> Any:
    """The file follows the commit that names it."""
    waiting: dict[str, bytes] = {}

    class Later:
        def __init__(self, blobs: Any) -> None:
            self.blobs = blobs

        def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
            waiting[key] = bytes(data)

        def delete(self, keys: Any, *, durable: bool = True) -> None:
            self.blobs.delete(keys, durable=durable)

    def run(blobs: Any, key: str, journal: Any) -> int:
        moved = apply(Later(blobs), key, journal)
        for name in list(waiting):
            blobs.write(name, waiting.pop(name))
        return moved

    apply = flush.flush
    return _both(patch.object(flush, "flush", run), patch.object(compact, "flush", run))


def merges_do_not_look_what_is_live() -> Any:
    """Of two merges of the same parts both count."""
    apply = Manifest.replace

    def lax(self: Manifest, command: dict[str, Any], seq: int) -> Any:
        return apply(self, {**command, "remove": [part for part in command["remove"] if part in self.parts]}, seq)

    return patch.object(Manifest, "replace", lax)


def replaced_parts_are_deleted_at_once() -> Any:
    """Readers of a snapshot lose its files."""
    delete = compact.delete_retired
    now = compact.timedelta(0)
    return patch.object(compact, "delete_retired", lambda blobs, key, journal, grace: delete(blobs, key, journal, now))


def replaced_parts_age_by_their_writers_clock() -> Any:
    """A process that was suspended before it committed a merge takes the files from readers that are well."""
    return patch.object(replaced, "_stood", lambda log, blobs, seq, since: True)


def revived_rows_are_not_masked() -> Any:
    """A trial that comes back into the state still counts in its part."""
    return patch.object(ExperimentState, "_revive", _revive_without_mask)


def _revive_without_mask(self: ExperimentState, command: dict[str, Any]) -> Any:
    from trialstore.model.record import TrialRecord

    record = TrialRecord.from_json(command["record"])
    record.seq = self.seq
    self.trials.setdefault(record.number, record)
    return accepted()


def lost_answers_count_as_failures() -> Any:
    """After a lost answer the counters are given to other commands."""
    return patch.object(Batch, "exposed", property(lambda self: False, lambda self, value: None), create=True)


def posted_commands_of_a_failed_commit_are_dropped() -> Any:
    """Reports that nobody waits for go down with the commit they were in."""
    return patch.object(Journal, "_requeue_posted", lambda self, batch: None)


def own_commits_are_not_looked_for() -> Any:
    """A lost race is not examined for the own commit that won it."""
    refresh = Replica.refresh
    return patch.object(Replica, "refresh", lambda self, mine=None: refresh(self))


def storage_does_not_exclude() -> Any:
    """Two creates of one key both succeed."""

    def create(self: SimulatedBlobs, key: str, data: bytes) -> bool:
        free = key not in self._place.blobs
        if free:
            self.write(key, data)
        return free

    return patch.object(SimulatedBlobs, "create", create)


def readers_do_not_look_again() -> Any:
    """Reads show the state as this process last knew it."""
    view = Journal.view
    return patch.object(Journal, "view", lambda self, refresh=True: view(self, refresh=not self._replica.is_loaded))


def leases_are_not_aged() -> Any:
    """Whoever holds a trial and is not oneself counts as lost."""

    def lost(self: Leases, key: str, active: list[Any]) -> list[Any]:
        return [record for record in active if record.session not in (self._session.current(), None)]

    return patch.object(Leases, "lost", lost)


def heartbeats_stop() -> Any:
    """A session writes its lease once."""

    def lease(self: Session, key: str) -> None:
        if key not in self._leased:
            self._leased[key] = {self.id.current(): 0.0}
            self.leases.renew(key)

    return patch.object(Session, "lease", lease)


def checkpoints_forget_sessions() -> Any:
    """What a checkpoint leaves out, a new process does not know."""
    dump = ExperimentState.dump

    def lax(self: ExperimentState) -> list[Any]:
        head, *rest = dump(self)
        return [{**head, "sessions": {}}, *rest]

    return patch.object(ExperimentState, "dump", lax)


def checkpoints_forget_where_logs_begin() -> Any:
    """A new process would flush rows under the wrong name."""
    load = Manifest.load.__func__  # type: ignore[attr-defined]

    def lax(cls: type[Manifest], head: Any, rows: Any) -> Manifest:
        manifest: Manifest = load(cls, head, rows)
        manifest.rows = {table: RowLog(0, log.rows) for table, log in manifest.rows.items()}
        return manifest

    return patch.object(Manifest, "load", classmethod(lax))


def buffers_forget_when_a_part_fails() -> Any:
    """Rows leave the buffer before their part is written."""
    write = RowBuffer._write

    def lax(self: RowBuffer, table: str, rows: list[Any]) -> Any:
        del self._rows[table]
        draft = write(self, table, rows)
        self._rows[table] = []
        return draft

    return patch.object(RowBuffer, "_write", lax)


def late_results_are_thrown_away() -> Any:
    """What an attempt that lost its trial reports is not kept."""
    return patch.object(ExperimentState, "_late", lambda self, command, record, outcome: outcome)


def documents_are_overwritten() -> Any:
    """A document is set whatever revision was expected."""
    document = Machine._document
    return patch.object(Machine, "_document", lambda self, command: document(self, {**command, "revision": None}))


def sessions_are_forgotten_while_they_hold_trials() -> Any:
    """A long silence is the end of a session that is at work."""
    return patch.object(ExperimentState, "is_busy", lambda self, session: False)


def old_looks_are_believed() -> Any:
    """A writer that was suspended past the retention takes a deleted number for free."""
    return patch.object(Watch, "_is_long", lambda self, start, end: False)


@contextmanager
def _both(*patches: Any) -> Iterator[None]:
    with patches[0], patches[1]:
        yield


BREAKS: dict[str, Callable[[], Any]] = {
    made.__name__: made
    for made in (
        counters_are_not_checked,
        attempts_are_not_checked,
        running_trials_are_claimed,
        flush_ignores_where_the_log_begins,
        flush_drops_what_changed_meanwhile,
        parts_are_announced_before_they_are_written,
        merges_do_not_look_what_is_live,
        replaced_parts_are_deleted_at_once,
        replaced_parts_age_by_their_writers_clock,
        revived_rows_are_not_masked,
        lost_answers_count_as_failures,
        posted_commands_of_a_failed_commit_are_dropped,
        own_commits_are_not_looked_for,
        storage_does_not_exclude,
        readers_do_not_look_again,
        leases_are_not_aged,
        heartbeats_stop,
        checkpoints_forget_sessions,
        checkpoints_forget_where_logs_begin,
        buffers_forget_when_a_part_fails,
        late_results_are_thrown_away,
        documents_are_overwritten,
        sessions_are_forgotten_while_they_hold_trials,
        old_looks_are_believed,
    )
}


FIRST_SEED: dict[str, int] = {
    "attempts_are_not_checked": 50,
    "flush_drops_what_changed_meanwhile": 140,
    "heartbeats_stop": 1060,
    "lost_answers_count_as_failures": 360,
    "old_looks_are_believed": 75,
    "posted_commands_of_a_failed_commit_are_dropped": 70,
    "replaced_parts_age_by_their_writers_clock": 530,
    "sessions_are_forgotten_while_they_hold_trials": 50,
}
"""Where to begin with what few seeds show, so that one is not far."""

FOUND_BY: dict[str, tuple[str, ...]] = {
    "counters_are_not_checked": ("fold", "check_calls"),
    "attempts_are_not_checked": ("check_calls",),
    "running_trials_are_claimed": ("check_calls",),
    "flush_ignores_where_the_log_begins": ("check_calls",),
    "flush_drops_what_changed_meanwhile": ("check_calls", "check_reads", "same_state"),
    "parts_are_announced_before_they_are_written": ("check_deeds",),
    "merges_do_not_look_what_is_live": ("check_calls",),
    "replaced_parts_are_deleted_at_once": ("check_deeds", "check_files"),
    "replaced_parts_age_by_their_writers_clock": ("check_deeds", "check_files"),
    "revived_rows_are_not_masked": ("fold",),
    "lost_answers_count_as_failures": ("fold",),
    "posted_commands_of_a_failed_commit_are_dropped": ("check_logged",),
    "own_commits_are_not_looked_for": ("fold", "check_deeds"),
    "storage_does_not_exclude": ("check_storage",),
    "readers_do_not_look_again": ("check_looks",),
    "leases_are_not_aged": ("check_leases",),
    "heartbeats_stop": ("check_leases",),
    "checkpoints_forget_sessions": ("fold",),
    "checkpoints_forget_where_logs_begin": ("check_calls",),
    "buffers_forget_when_a_part_fails": ("check_logged",),
    "late_results_are_thrown_away": ("check_reads", "same_state"),
    "documents_are_overwritten": ("check_calls",),
    "sessions_are_forgotten_while_they_hold_trials": ("check_calls", "fold", "same_state"),
    "old_looks_are_believed": ("check_storage", "check_calls", "fold"),
}
"""The checks that may find each: what fails otherwise, as by an exception of the code under test, proves nothing."""


@contextmanager
def broken_on_purpose(name: str | None) -> Iterator[None]:
    """Break one guarantee for the length of a block."""
    if name is None:
        yield
    else:
        with BREAKS[name]():
            yield
