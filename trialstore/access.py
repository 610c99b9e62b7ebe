"""What a handle on an experiment may do: read, write, or execute trials as well."""

from __future__ import annotations

from typing import Any

from trialstore.journal.catalog import ExperimentEntry
from trialstore.journal.journal import Draft
from trialstore.journal.machine import Outcome
from trialstore.ledger import Ledger, ledger_of
from trialstore.model.errors import ReadOnlyError, UsageError
from trialstore.model.status import Status
from trialstore.session import Session

__all__ = ["MODES", "limited"]

MODES = ("r", "w", "x")
"""Read; register and change trials too; claim and finish them too."""


class WritingLedger(Ledger):
    """A ledger that registers and changes trials, and executes none.

    Args:
        whole: The ledger of the same experiment that may do everything; both write in one name.
    """

    def __init__(self, whole: Ledger) -> None:
        self.__dict__.update(whole.__dict__)

    @property
    def mode(self) -> str:
        """What it may do."""
        return "w"

    def __reduce__(self) -> tuple[object, ...]:
        return _writing, (self.session, self.entry)

    def execute(self, *drafts: Draft, force: bool = True) -> list[Outcome]:
        """Commit commands that execute no trial.

        Raises:
            ReadOnlyError: one of them does; nothing was committed.
        """
        for draft in drafts:
            if _executes(draft.kind, draft.fields):
                raise ReadOnlyError(
                    "experiment was opened for writing, not for executing its trials",
                    hint='open it with mode="x"',
                    experiment=self.entry.name,
                    mode="w",
                )
        return super().execute(*drafts, force=force)


def limited(ledger: Ledger, mode: str | None) -> Ledger:
    """The ledger of the same experiment that may do no more than a mode says; itself for None.

    Raises:
        UsageError: there is no such mode.
        ReadOnlyError: the store was opened for reading.
    """
    if mode is None or mode == ledger.mode:
        return ledger
    if mode not in MODES:
        raise UsageError("no such mode", hint="r reads, w writes as well, x executes trials as well", mode=mode)
    session = ledger.session
    if mode == "r":
        options = session.options.model_copy(update={"mode": "r"})
        reader: Session = session.writer(
            "reader", lambda: Session(session.place, session.blobs, options, session.retention_s, session.store)
        )
        return ledger_of(reader, ledger.entry)
    session.require_writable()
    whole = ledger_of(session, ledger.entry)
    return WritingLedger(whole) if mode == "w" else whole


def _executes(kind: str, fields: dict[str, Any]) -> bool:
    if kind == "status":
        return Status(fields["status"]).is_active
    return kind in ("claim", "finish") or (kind == "register" and bool(fields.get("claimed")))


def _writing(session: Session, entry: ExperimentEntry) -> Ledger:
    return WritingLedger(ledger_of(session, entry))
