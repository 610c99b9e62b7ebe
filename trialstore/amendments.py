"""What is said of a trial from outside of its run: another status, a result, that it is to go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger, catalog_of
from trialstore.life.settling import settled
from trialstore.model.errors import BlobNotFoundError, ExperimentNotFoundError, UsageError

__all__ = ["amend_trial", "check_limit", "remove_trials", "update_entry"]


def amend_trial(ledger: Ledger, number: int, fields: Mapping[str, Any]) -> None:
    """Make a trial what the caller says, also one that has ended and lies in a part; durable when it returns.

    Args:
        ledger: Of its experiment.
        number: The trial.
        fields: Members of the command ``amend``, as ``docs/FORMAT.md`` has them.

    Raises:
        TrialNotFoundError: there is no such trial.
        TransitionError: its status is not the one that `fields` expect; nothing was changed.
    """
    ledger.maintain(settled(ledger, Draft("amend", {**fields, "trial": number})))


def remove_trials(ledger: Ledger, numbers: Iterable[int]) -> int:
    """Take trials out, with all that was logged and stored of them; returns how many.

    Guarantees: all of them are gone when it returns, or none. Their numbers are never used again. A worker that
    is still at work on one finds that there is no such trial.

    Raises:
        TrialNotFoundError: one of them is not there; nothing was removed.
    """
    chosen = list(dict.fromkeys(numbers))
    ids = _artifacts_of(ledger, chosen)
    draft = Draft("remove", {"trials": chosen})
    while (outcome := ledger.execute(draft)[-1]).reason == "finished":
        _revive(ledger, chosen)  # a flush may be quicker, and move them into a part again
    if outcome.reason is not None:
        ledger.refuse(outcome)
    if ids:
        ledger.execute(Draft("remove_artifacts", {"ids": ids}))
    removed: int = outcome.value
    return removed


def _artifacts_of(ledger: Ledger, numbers: Sequence[int]) -> list[str]:
    """Ids of what is stored with trials."""
    with ledger.journal.view() as state:
        manifest = state.manifest
        if not manifest.rows["artifacts"].rows and all(part.table != "artifacts" for part in manifest.parts.values()):
            return []
    if len(numbers) == 1:
        return [artifact.id for artifact in ledger.artifacts(numbers[0])]
    import polars as pl

    from trialstore.query.collect import collected
    from trialstore.query.snapshot import Snapshot

    rows = Snapshot(ledger.blobs, [ledger.snapshot()]).frame("artifacts")
    return collected(rows.filter(pl.col("trial").is_in(numbers)).select("id"))["id"].to_list()


def _revive(ledger: Ledger, numbers: Sequence[int]) -> None:
    """Bring trials back from their parts, in one commit; those that another process moves meanwhile may be missing."""
    from trialstore.tables.parts import read_records

    wanted: dict[str, list[int]] = {}
    with ledger.journal.view() as state:
        parts = dict(state.manifest.parts)
        for number in numbers:
            part = None if number in state.trials else state.manifest.part_of(number)
            if part is not None:
                wanted.setdefault(part.id, []).append(number)
    drafts = []
    for part_id, there in wanted.items():
        try:
            records = read_records(ledger.blobs, ledger.key, parts[part_id], there)
        except BlobNotFoundError:  # the part was replaced, and deleted, since the look
            continue
        drafts += [Draft("revive", {"record": r.encoded().to_json(), "part": part_id}) for r in records]
    if drafts:
        ledger.execute(*drafts)


def update_entry(ledger: Ledger, changes: Mapping[str, Any]) -> None:
    """Change members of the experiment's configuration in the catalog; durable when it returns."""
    ledger.require_writable()
    catalog = catalog_of(ledger.session)
    draft = Draft("update_experiment", {"id": ledger.entry.id, "revision": None, "config": dict(changes)})
    outcome = catalog.execute(draft)[-1]
    if outcome.reason is not None:
        raise ExperimentNotFoundError("experiment was dropped", experiment=ledger.entry.name, **outcome.value)
    with catalog.view(refresh=False) as state:
        ledger.entry = state.experiments[ledger.entry.id]


def check_limit(name: str, limit: object) -> None:
    """Return when something can be a limit.

    Raises:
        UsageError: it cannot.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UsageError(f"{name} must be a whole number of at least 1, or None", limit=limit)
