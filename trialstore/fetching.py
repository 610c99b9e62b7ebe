"""Lists of an experiment's trials: by status, lost, pending, with those of its parents and children."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from trialstore.claiming import Claims
from trialstore.family import Relative, key_of, relatives, seen_through
from trialstore.ledger import Ledger
from trialstore.model.errors import TrialNotFoundError, UsageError
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.space import Fidelity
from trialstore.model.status import Status
from trialstore.model.typed_trial import TypedTrial
from trialstore.naming import names_of
from trialstore.reading import Readable
from trialstore.recalling import records_of
from trialstore.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Fetched"]

_PENDING = frozenset(status for status in Status if status.is_claimable)
_NOT_COMPLETED = frozenset(set(Status) - {Status.SUCCEEDED})


class Fetched(Readable):
    """The verbs of an experiment that fetch trials as lists, in the order in which they were submitted.

    With ``with_evc_tree=True`` the trials of its parents and children come too, as the adapters between the experiments
    show them: with the parameters that they would have here. A trial that is here already is not shown again. Their
    handles are those of the experiments they are in.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._claims = Claims(ledger, self.declared_metrics)

    def fetch_trials(self, with_evc_tree: bool = False) -> list[Trial]:
        """All trials."""
        return self._fetched(None, with_evc_tree)

    def fetch_trials_by_status(self, status: Status | str, with_evc_tree: bool = False) -> list[Trial]:
        """The trials of a status.

        Args:
            status: A status, also under Oríon's name (new, reserved, completed, broken).
            with_evc_tree: Whether parents and children count.

        Source: Oríon, `Experiment.fetch_trials_by_status`.
        """
        return self._fetched({Status.parse(status)}, with_evc_tree)

    def fetch_pending_trials(self, with_evc_tree: bool = False) -> list[Trial]:
        """The trials that somebody may claim: PENDING, INTERRUPTED and SUSPENDED."""
        return self._fetched(_PENDING, with_evc_tree)

    def fetch_noncompleted_trials(self, with_evc_tree: bool = False) -> list[Trial]:
        """The trials that did not succeed, those that broke included."""
        return self._fetched(_NOT_COMPLETED, with_evc_tree)

    def fetch_lost_trials(self, with_evc_tree: bool = False) -> list[Trial]:
        """The trials whose worker's lease ran out; nothing is done about them.

        The clock of the backend decides, for one who may only read that of this machine.
        """
        return self._listed(lambda ledger: Claims(ledger, ()).lost(), with_evc_tree)

    def fix_lost_trials(self, with_evc_tree: bool = True) -> list[Trial]:
        """Take trials from workers whose lease ran out, so that others can claim them; returns those it took here.

        A worker that comes back finds that the trial is no longer its own; what it reports is kept as a late result.

        Args:
            with_evc_tree: Whether the same is done for the experiments that it was branched from, and into.

        Source: Oríon, `Experiment.fix_lost_trials`.
        """
        fixed = [self.trial(number) for number in self._claims.fix_lost()]
        for relative in relatives(self._ledger) if with_evc_tree else ():
            Claims(relative.ledger, ()).fix_lost()
        return fixed

    def get_trial(self, trial: Trial | TypedTrial | None = None, uid: int | str | None = None) -> Trial | None:
        """One trial as it is now, None when there is none.

        Args:
            trial: The trial, or one of the same parameters.
            uid: Its number, its `id`, or its `hash_name`.

        Raises:
            UsageError: neither is given, or both and they are not of one trial.

        Cost: by number a look at the journal, and at one part when the trial lies in it; by name also a read of
            all trials the first time, and later a look at those that changed.

        Source: Oríon, `BaseStorageProtocol.get_trial`.
        """
        if trial is None and uid is None:
            raise UsageError("which trial is not said", hint="pass a trial or uid=")
        found = None if uid is None else self._by_uid(uid)
        if trial is None:
            return found
        asked = self._by_uid(trial.number if isinstance(trial, Trial) else trial.hash_name)
        if uid is not None and asked != found:
            raise UsageError("trial and uid are not of one trial", trial=trial, uid=uid)
        return asked

    def _by_uid(self, uid: int | str) -> Trial | None:
        number = uid if isinstance(uid, int) else names_of(self._ledger).find(uid)
        try:
            return None if number is None else self.trial(number)
        except TrialNotFoundError:
            return None

    def retrieve_result(self, trial: Trial) -> Trial:
        """The trial with the results that the store has now.

        Source: Oríon, `Experiment.retrieve_result`.
        """
        return trial.refresh()

    # As frames

    def to_polars(self, with_evc_tree: bool = False) -> pl.DataFrame:
        """One row a trial: id, experiment, status, times, objective, every parameter and every result.

        Columns are `id` (the number), `hash`, `experiment_id`, `status`, `suggested`, `reserved`, `completed`,
        `objective`, then ``params.<name>`` and ``results.<name>`` (``results.<type>.<name>`` where two results of
        a trial share a name). Values that no column type holds are JSON text.
        """
        import polars as pl

        from trialstore.reporting.columns import trial_columns

        rows = trial_columns([trial.typed for trial in self.fetch_trials(with_evc_tree)])
        return pl.DataFrame(rows, strict=False)

    def to_pandas(self, with_evc_tree: bool = False) -> pd.DataFrame:
        """The same as `to_polars` for pandas.

        Source: Oríon, `Experiment.to_pandas`, which leaves out all results but the objective.
        """
        import pandas as pd

        from trialstore.reporting.columns import trial_columns

        return pd.DataFrame(trial_columns([trial.typed for trial in self.fetch_trials(with_evc_tree)]))

    # Trials of this experiment and of its relatives

    def _fetched(self, statuses: Collection[Status] | None, with_evc_tree: bool) -> list[Trial]:
        return self._listed(lambda ledger: records_of(ledger, statuses), with_evc_tree)

    def _listed(self, read: Callable[[Ledger], list[TrialRecord]], with_evc_tree: bool) -> list[Trial]:
        found = [Trial(self._ledger, self.declared_metrics, record) for record in read(self._ledger)]
        if with_evc_tree:
            found += self._kin(read)
        return sorted(found, key=lambda trial: trial._held.record.submitted_at)

    def _kin(self, read: Callable[[Ledger], list[TrialRecord]]) -> list[Trial]:
        """Trials of the relatives as they look here, but for those whose parameters are here, or nearer, already."""
        kin = relatives(self._ledger)
        seen = {key_of(record) for record in records_of(self._ledger)} if kin else set()
        fidelities = frozenset(name for name, dimension in self.space.items() if isinstance(dimension, Fidelity))
        found: list[Trial] = []
        for relative in kin:
            metrics = _metrics(relative)
            there = [seen_through(relative, record, fidelities) for record in read(relative.ledger)]
            here = [record for record in there if record is not None and key_of(record) not in seen]
            seen |= {key_of(record) for record in here}
            found += [Trial(relative.ledger, metrics, record) for record in here]
        return found


def _metrics(relative: Relative) -> Sequence[Metric]:
    bodies: list[dict[str, Any]] = relative.ledger.entry.config["metrics"]
    return tuple(Metric.from_json(body) for body in bodies)
