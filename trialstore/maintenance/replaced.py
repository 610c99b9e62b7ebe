"""Which files of replaced parts nobody reads any more."""

from __future__ import annotations

from datetime import datetime, timedelta

from trialstore.blobs.protocol import Blobs
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Journal
from trialstore.journal.log import Log
from trialstore.maintenance import waste
from trialstore.model.times import format_time

__all__ = ["outlived"]


def outlived(
    blobs: Blobs,
    key: str,
    journal: Journal[ExperimentState],
    grace: timedelta,
    clock: datetime,
    now: datetime | None = None,
) -> dict[str, str]:
    """Parts that were replaced longer than `grace` ago, whose files may be deleted, with their tables.

    Guarantees: whoever saw the part live saw it before the commit that replaced it, and that commit has been in the
    store for the grace, by the backend's clock. The time that its writer gave it would not do: the writer may have
    been suspended before it committed, and the part be in use until then.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        journal: The experiment's journal.
        grace: How long files of replaced parts are kept. Without any they go at once, whoever reads them.
        clock: The time that the times of commands are held against.
        now: The time by the backend's clock, where it is known.

    Cost: nothing where no part was replaced so long ago; else four requests, and one more for each commit that replaced
    parts and is younger.
    """
    before = format_time(clock - grace)
    with journal.view() as state:
        old = {part: table for part, (table, at) in state.manifest.retired.items() if at <= before}
        replaced_by = {part: seq for part, seq in state.manifest.replaced_by.items() if part in old}
    if not replaced_by or grace <= timedelta(0):
        return old
    since = (waste.time_of(blobs, writable=True) if now is None else now) - grace
    log = Log(blobs, f"experiment={key}")
    # The newest first: all commits before one that is old enough are older.
    last = next((seq for seq in sorted(set(replaced_by.values()), reverse=True) if _stood(log, blobs, seq, since)), -1)
    return {part: table for part, table in old.items() if replaced_by.get(part, -1) <= last}


def _stood(log: Log, blobs: Blobs, seq: int, since: datetime) -> bool:
    """Whether a commit was in the store at a time."""
    info = blobs.info(log.blob(seq))
    if info is None:  # history up to it was deleted, so the oldest that is left came later
        info = next((info for info in log.commits() if log.seq_of(info.key) > seq), None)
    return info is not None and info.modified_at <= since
