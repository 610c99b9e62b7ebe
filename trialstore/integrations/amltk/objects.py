"""Where the objects of AMLTK's buckets lie: rows of the artifacts table, of a trial or of none yet."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from trialstore.artifacts.store import Artifact, put
from trialstore.experiment import Experiment
from trialstore.integrations.amltk.formats import Formats
from trialstore.journal.journal import Draft
from trialstore.model.codec import decode
from trialstore.model.identity import new_ulid
from trialstore.model.times import format_time, now_text

__all__ = ["NOTE", "NO_TRIAL", "Objects"]

NO_TRIAL = -1
"""The trial of artifacts that belong to none: to a bucket, or to a trial whose report has not come yet."""

NOTE = "amltk"
"""The attribute of a trial that says of its report what no column does."""


_COLUMNS = [field.name for field in fields(Artifact)]


class Objects:
    """The artifacts of an experiment as its buckets see them.

    An object that a worker stores is an artifact of no trial, under its bucket's name and its own, until the trial's
    report is written: then it is the trial's, under its own name, without its bytes being moved.

    Args:
        experiment: Whose.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def __reduce__(self) -> tuple[object, ...]:
        return Objects, (self.experiment,)

    def put(self, trial: int, attempt: int, values: Iterable[tuple[str, Path, Any]], formats: Formats) -> None:
        """Store objects, in the place of those that there may be; durable when it returns.

        Args:
            trial: Whose they are, or `NO_TRIAL`.
            attempt: The trial's attempt, 0 for none.
            values: Name, path and object.
            formats: What turns them into bytes.

        Cost: a write an object, and one commit.
        """
        ledger = self.experiment._ledger
        ledger.require_writable()
        known = self._named(trial)
        with ledger.journal.view() as state:
            retired = set(state.manifest.retired_blobs)
        rows, gone = [], []
        try:
            for name, path, value in values:
                with formats.dumped(path, value) as (source, loader):
                    stored = put(ledger.blobs, ledger.key, trial, attempt, name, source, loader=None, retired=retired)
                rows.append((stored if loader is None else replace(stored, loader=loader)).row())
                gone += [artifact.id for artifact in known.pop(name, ())]
        finally:
            drafts = [Draft("rows", {"table": "artifacts", "rows": rows})] if rows else []
            drafts += [Draft("remove_artifacts", {"ids": gone})] if gone else []
            if drafts:
                ledger.execute(*drafts)

    def remove(self, artifacts: Iterable[Artifact]) -> None:
        """Delete objects; their bytes go with a later vacuum."""
        ids = [artifact.id for artifact in artifacts]
        if ids:
            self.experiment._ledger.execute(Draft("remove_artifacts", {"ids": ids}))

    def adopt(self, trials: Mapping[str, tuple[int, int]]) -> list[Draft]:
        """Make the objects of buckets those of trials, with the next commit; bytes are not moved.

        Args:
            trials: Number and attempt by the name of the bucket, which ends with ``/``.

        Returns:
            Commands that belong into that commit: the caller must execute them.
        """
        waiting = self._named(NO_TRIAL) if trials else {}
        rows, gone = [], []
        for name, found in waiting.items():
            home = _home_among(trials, name)
            if home is not None:
                trial, attempt = trials[home]
                rows.append(_row_for(found[-1], trial, attempt, name.removeprefix(home)))
                gone += [artifact.id for artifact in found]
        if not rows:
            return []
        self.experiment._ledger.log_rows("artifacts", rows)
        return [Draft("remove_artifacts", {"ids": gone})]

    def share(self, trial: int, other: int, attempt: int) -> None:
        """Make the objects of a trial another's as well."""
        rows = [_row_for(artifact, other, attempt, name) for name, artifact in self.of_trial(trial).items()]
        if rows:
            self.experiment._ledger.log_rows("artifacts", rows)
            self.experiment._ledger.commit_buffered()

    def of_trial(self, trial: int) -> dict[str, Artifact]:
        """The objects of a trial by name, the newest of each; with `NO_TRIAL` those of none."""
        return {name: found[-1] for name, found in self._named(trial).items()}

    def of_homes(self, folder: str) -> dict[str, Artifact]:
        """The objects of recorded trials whose bucket is this one, or in it, by bucket and name; later trials win.

        Cost: a query over the experiment's trials and artifacts.
        """
        import polars as pl

        snapshot = self.experiment.snapshot()
        rows = snapshot.frame("artifacts").filter(pl.col("trial") >= 0).select(_COLUMNS).sort("trial", "at").collect()
        if rows.is_empty():
            return {}
        wanted = pl.col("trial").is_in(rows["trial"].unique().to_list())
        trials = snapshot.frame("trials").filter(wanted).select("trial", "name", "attributes").collect()
        homes = {number: home_of(name, attributes) for number, name, attributes in trials.iter_rows()}
        found: dict[str, Artifact] = {}
        for row in rows.iter_rows(named=True):
            name = f"{homes.get(row['trial']) or ''}{row['name']}"
            if homes.get(row["trial"]) is not None and name.startswith(folder):
                found[name] = Artifact(**{**row, "at": format_time(row["at"])})
        return found

    def _named(self, trial: int) -> dict[str, list[Artifact]]:
        named: dict[str, list[Artifact]] = {}
        for artifact in self.experiment._ledger.artifacts(trial):
            named.setdefault(artifact.name, []).append(artifact)
        return named


def _home_among(homes: Container[str], name: str) -> str | None:
    """The innermost of the buckets that an object is in."""
    folder = name.rpartition("/")[0]
    while folder:
        if f"{folder}/" in homes:
            return f"{folder}/"
        folder = folder.rpartition("/")[0]
    return None


def _row_for(artifact: Artifact, trial: int, attempt: int, name: str) -> list[Any]:
    return replace(artifact, trial=trial, attempt=attempt, name=name, at=now_text(), id=new_ulid()).row()


def home_of(name: str | None, attributes: str | None) -> str | None:
    """The bucket of a recorded trial: what its note says, else one of its name."""
    note: Any = (decode(attributes) if attributes else {}) or {}
    noted = note.get(NOTE) if isinstance(note, dict) else None
    if isinstance(noted, dict) and "home" in noted:
        return str(noted["home"])
    return None if name is None else f"{name}/"
