"""Looking after a store or one experiment of it: the same verbs for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trialstore.journal.catalog import Catalog
from trialstore.journal.journal import Journal
from trialstore.journal.stored import StoredJournal
from trialstore.ledger import Ledger
from trialstore.model.errors import DamagedError, FormatTooNewError
from trialstore.session import Session

if TYPE_CHECKING:
    from trialstore.maintenance.compact import Compaction
    from trialstore.maintenance.repair import Repair
    from trialstore.maintenance.verify import Verification
    from trialstore.maintenance.waste import Waste

__all__ = ["Maintained", "Tell", "Upkeep"]

Tell = Callable[[str], None]
"""Told what is looked at next."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is looked after: one experiment, or all of them and their catalog.

    Attributes:
        session: Who does it, and where.
        ledgers: Gives the experiments. It is asked late: a damaged catalog names none.
        catalog: The catalog's journal, when the whole store is looked after.
    """

    session: Session
    ledgers: Callable[[], list[Ledger]]
    catalog: Journal[Catalog] | None = None

    def flush(self) -> int:
        """Commit what is buffered and move finished trials into parts; returns how many trials moved."""
        from trialstore.maintenance.flush import flush

        self.session.require_writable()
        moved = 0
        for ledger in self.ledgers():
            ledger.commit_buffered()
            moved += flush(ledger.blobs, ledger.key, ledger.journal)
        return moved

    def compact(self, grace: timedelta | None, progress: Tell | None = None) -> list[Compaction]:
        """Merge the small parts of each experiment; see `trialstore.maintenance.compact.compact`."""
        from trialstore.maintenance.compact import READERS_GRACE, compact

        keep = max(timedelta(seconds=self.session.retention_s), READERS_GRACE) if grace is None else grace
        self.session.require_writable()
        done = []
        for ledger in self.ledgers():
            ledger.commit_buffered()
            done.append(compact(ledger.blobs, ledger.key, ledger.journal, grace=keep, progress=progress))
            ledger.stored.log.settle()
        return done

    def checkpoint(self) -> list[str]:
        """Write the folded state of each journal; returns the blobs' keys."""
        self.session.require_writable()
        keys = [] if self.catalog is None else [self.catalog.checkpoint()]
        for ledger in self.ledgers():
            ledger.commit_buffered()
            keys.append(ledger.journal.checkpoint())
        return keys

    def verify(self, fast: bool, progress: Tell | None) -> Verification:
        """See `Maintained.verify`."""
        from trialstore.maintenance.verify import Verification, verify_catalog, verify_experiment

        report = Verification()
        if self.catalog is not None:
            report = verify_catalog(self._stored_catalog, fast=fast)
            if not report.ok and not self._is_catalog_readable():
                return report
        for ledger, tell in self._told(progress):
            report.merge(
                verify_experiment(
                    ledger.blobs, ledger.key, ledger.stored, ledger.stored.open(), fast=fast, progress=tell
                )
            )
        return report

    def vacuum(self, grace: timedelta, dry_run: bool, progress: Tell | None) -> list[Waste]:
        """See `Maintained.vacuum`."""
        from trialstore.maintenance.vacuum import Vacuum
        from trialstore.maintenance.waste import time_of

        blobs = self.session.blobs
        if not dry_run:
            self.session.require_writable()
        history = timedelta(seconds=self.session.retention_s)
        run = Vacuum(blobs, time_of(blobs, writable=not dry_run), grace, history, dry_run, progress or _silent, [])
        for ledger, tell in self._told(progress):
            if not dry_run:
                ledger.commit_buffered()
            run.tell = tell or _silent
            run.experiment(ledger.key, ledger.stored, ledger.journal)
        if self.catalog is not None:
            run.tell = progress or _silent
            run.store(self.catalog)
            run.journal(self._stored_catalog)
        return run.found

    def repair(self, grace: timedelta, fast: bool, progress: Tell | None) -> Repair:
        """See `Maintained.repair`."""
        from trialstore.maintenance.repair import Repair, mend_journal, repair_experiment

        self.session.require_writable()
        done = [] if self.catalog is None else mend_journal(self._stored_catalog)
        if self.catalog is None or self._is_catalog_readable():
            for ledger, tell in self._told(progress):
                done += repair_experiment(ledger.blobs, ledger.key, ledger.stored, ledger.journal, grace, tell)
        return Repair(tuple(done), tuple(self.verify(fast, progress).problems))

    def _told(self, progress: Tell | None) -> Iterator[tuple[Ledger, Tell | None]]:
        """Each experiment, and who is told of it: with its name in front where there are several."""
        for ledger in self.ledgers():
            if progress is None or self.catalog is None:
                yield ledger, progress
            else:
                yield ledger, _named(ledger.entry.name, progress)

    @property
    def _stored_catalog(self) -> StoredJournal[Catalog]:
        return StoredJournal(self.session.blobs, "catalog", Catalog, self.session.retention_s)

    def _is_catalog_readable(self) -> bool:
        assert self.catalog is not None
        try:
            with self.catalog.view():
                return True
        except (DamagedError, FormatTooNewError):
            return False


def _silent(step: str) -> None:
    pass


def _named(name: str, progress: Tell) -> Tell:
    return lambda step: progress(f"{name}: {step}")


class Maintained(ABC):
    """What users call to look after a store, or after one experiment of it."""

    @property
    @abstractmethod
    def _upkeep(self) -> Upkeep: ...

    def verify(self, *, fast: bool = False, progress: Tell | None = None) -> Verification:
        """Read all there is and list what is not as it was written; never writes, and never stops at the first.

        Args:
            fast: Look at existence and sizes alone.
            progress: Told what is checked next.
        """
        return self._upkeep.verify(fast, progress)

    def vacuum(
        self, *, grace: timedelta = timedelta(days=1), dry_run: bool = False, progress: Tell | None = None
    ) -> list[Waste]:
        """Delete what nobody needs any more and return it, each with the reason; safe beside live writers and readers.

        Of a whole store that is also the folders of experiments that were dropped longer than the retention ago.

        Args:
            grace: How old it must be; two hours at least where a writer may still be at work on it. History (commits,
                the files of replaced parts, dropped experiments) is kept for the store's retention, whatever this is.
            dry_run: Only list it.
            progress: Told what is looked at next.
        """
        return self._upkeep.vacuum(grace, dry_run, progress)

    def repair(
        self, *, grace: timedelta = timedelta(days=1), fast: bool = False, progress: Tell | None = None
    ) -> Repair:
        """Mend what can be mended, and tell what was done and what is still wrong; safe beside live writers.

        Args:
            grace: How old a part must be that was written and never announced, to be taken in or removed.
            fast: Look at existence and sizes alone for what is still wrong.
            progress: Told what is looked at next.
        """
        return self._upkeep.repair(grace, fast, progress)
