"""An experiment: trials are registered, claimed, finished and read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from trialstore.amendments import check_limit, update_entry
from trialstore.changing import Changing
from trialstore.family import Node, refers_of
from trialstore.imports import import_trials
from trialstore.journal.journal import Draft
from trialstore.model.codec import pack_dict, unpack
from trialstore.model.errors import UsageError
from trialstore.model.identity import check_name
from trialstore.model.status import Status
from trialstore.model.typed_trial import TypedTrial
from trialstore.registering import arriving, register, told_apart, trial_bodies, trial_body
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.report import Report
from trialstore.reserving import Reserving
from trialstore.runner.runs import Runs
from trialstore.session import Session
from trialstore.trial import Trial
from trialstore.upkeep import Maintained, Upkeep

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from trialstore.maintenance.compact import Compaction

__all__ = ["Experiment"]


class Experiment(Maintained, Rendered, Reserving, Changing, Runs):
    """A named set of trials with one parameter space and one list of metrics.

    `Store.create_experiment` and `Store.experiment` give one. It may be used from many threads, and pickled.

    Attributes:
        name: Unique in the store, together with the version.
        version: 1, 2, 3 …
        id: A small integer that is never used again in the store.
        declared_metrics: The metrics, the first of which is the objective by default.
        space: The parameter space; empty when any parameters are allowed.
    """

    _store_of: ClassVar[Callable[[Session], Any]]
    """Opens the store of a session; the module of stores, which is above this one, says how."""

    @property
    def version(self) -> int:
        """1, 2, 3 … among the experiments of this name."""
        return self._ledger.entry.version

    @property
    def id(self) -> int:
        """A small integer that is never used again in the store."""
        return self._ledger.entry.id

    @property
    def config(self) -> Mapping[str, Any]:
        """What the experiment was created with, as the store holds it."""
        return dict(self._ledger.entry.config)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the creator wanted remembered."""
        return {name: unpack(value) for name, value in self._ledger.entry.config["metadata"].items()}

    @property
    def max_trials(self) -> int | None:
        """How many trials shall succeed, None for no limit. It can be set, for everybody and durably."""
        limit: int | None = self._ledger.entry.config["max_trials"]
        return limit

    @max_trials.setter
    def max_trials(self, limit: int | None) -> None:
        check_limit("max_trials", limit)
        update_entry(self._ledger, {"max_trials": limit})

    @property
    def max_broken(self) -> int | None:
        """How many trials may break before the experiment counts as broken, None for no limit. It can be set, too."""
        limit: int | None = self._ledger.entry.config["max_broken"]
        return limit

    @max_broken.setter
    def max_broken(self, limit: int | None) -> None:
        check_limit("max_broken", limit)
        update_entry(self._ledger, {"max_broken": limit})

    @property
    def mode(self) -> str:
        """What this handle may do: ``r`` reads, ``w`` registers and changes trials too, ``x`` executes them too.

        It is enforced: what the mode does not allow raises `ReadOnlyError`, also on trials of this handle. See
        `Store.experiment`.
        """
        return self._ledger.mode

    @property
    def storage(self) -> Any:
        """The `Store` that it is in."""
        return type(self)._store_of(self._ledger.session)

    @property
    def working_dir(self) -> str | None:
        """Folder for the files of its trials, None when it was created without one."""
        folder: str | None = self._ledger.entry.config.get("working_dir")
        return folder

    @property
    def refers(self) -> dict[str, Any]:
        """Where it was branched from: ``root_id``, ``parent_id`` and the configuration of the ``adapter`` in between.

        The root of a tree, and an experiment without any tree, refers to itself and has no parent.
        """
        refers = refers_of(self._ledger.entry)
        return {**refers, "adapter": [dict(body) for body in refers.get("adapter") or ()]}

    @property
    def node(self) -> Node[Experiment] | None:
        """Its place in the tree of experiments that were branched from one another; None when it is in none."""
        node = Node(self._ledger, Experiment)
        return node if node.parent is not None or node.children else None

    @property
    def configuration(self) -> dict[str, Any]:
        """All that it is configured with, as built-in values that may be changed."""
        return {
            "_id": self.id,
            "name": self.name,
            "version": self.version,
            "refers": self.refers,
            "metadata": dict(self.metadata),
            "max_trials": self.max_trials,
            "max_broken": self.max_broken,
            "space": {name: unpack(body) for name, body in self.space.to_json().items()},
            "metrics": [metric.to_json() for metric in self.declared_metrics],
            "algorithms": self._algorithm_configuration,
            "working_dir": self.working_dir,
        }

    @property
    def is_done(self) -> bool:
        """Whether `max_trials` trials have succeeded, or the algorithm has no more to suggest and nothing is pending.

        The algorithm is asked by its `is_done`, where `algorithms` was given one that has it. The trials of the
        experiment itself count: an experiment that was branched from one that is done has its own `max_trials` to do.
        """
        if super().is_done:
            return True
        if not getattr(self.algorithms, "is_done", False):
            return False
        return not any(status.is_claimable or status.is_active for status in self.counts)

    def __repr__(self) -> str:
        return f"<Experiment {self.name!r} version {self.version} in {self._ledger.blobs.url}>"

    def _page(self) -> Page:
        from trialstore.facts import experiment_facts, newest_numbers, trial_facts
        from trialstore.render.experiment_page import experiment_page

        best = self._best_numbers(5)
        newest = [number for number in newest_numbers(self, 10) if number not in best][:5]
        trials = {
            name: [trial_facts(self.trial(n)) for n in some] for name, some in (("best", best), ("newest", newest))
        }
        return experiment_page({**experiment_facts(self), **trials})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Experiment):
            return NotImplemented
        return (self._ledger.blobs.url, self.id) == (other._ledger.blobs.url, other.id)

    def __hash__(self) -> int:
        return hash((self._ledger.blobs.url, self.id))

    def __reduce__(self) -> tuple[Any, ...]:
        return Experiment, (self._ledger,)

    # Registering and claiming

    def register_trial(
        self,
        params: Mapping[str, Any] | TypedTrial | Trial,
        status: Status | str = Status.PENDING,
        *,
        name: str | None = None,
        seed: int | None = None,
        fidelity: Mapping[str, Any] | None = None,
        parent: int | None = None,
        ready_at: datetime | None = None,
        attributes: Mapping[str, Any] | None = None,
        info: Any = None,
        reserve: bool = False,
    ) -> Trial:
        """Add a pending trial; durable when it returns.

        Args:
            params: A value for each parameter of the space; defaults are filled in. Or a trial of another experiment,
                or one that `Trial.build` made: with its parameters, fidelity, results and times.
            status: What it starts as, also under Oríon's name; RUNNING is the same as `reserve`.
            name: For people to read; need not be unique.
            seed: Kept with the trial.
            fidelity: How much effort the trial shall spend. It is not part of the trial's id.
            parent: Number of the trial it was made from.
            ready_at: Not to be claimed before this aware time.
            attributes: Anything else to remember.
            info: What the optimiser wants back with the trial: any value that `trialstore.model.codec` encodes.
            reserve: Claim it for this session in the same commit, so that it is returned running.

        Raises:
            InvalidParamsError: names all that does not fit the space; nothing was registered.
            DuplicateTrialError: the experiment was created with ``repeats=False`` and has these parameters.
            InvalidMetricsError: it comes in as succeeded, and a declared metric is missing.

        Cost: one conditional put.
        """
        status = Status.parse(status)
        reserve, status = (True, Status.PENDING) if status is Status.RUNNING else (reserve, status)
        came = params.typed if isinstance(params, Trial) else params
        members: dict[str, Any] = {}
        if isinstance(came, TypedTrial) or status is not Status.PENDING:
            members = arriving(self.declared_metrics, came if isinstance(came, TypedTrial) else None, status)
        if isinstance(came, TypedTrial):
            params, effort = told_apart(came)
            fidelity = fidelity or effort
            parent = came.parent if parent is None and isinstance(came.parent, int) else parent
        body = members | trial_body(
            self.space,
            params,  # type: ignore[arg-type]
            fidelity,
            name=name,
            seed=seed,
            parent=parent,
            ready_at=ready_at,
            attributes=attributes,
            info=info,
        )
        if reserve and "ready_at" in body:
            raise UsageError("a trial that is not ready yet cannot be reserved", ready_at=ready_at)
        return register(self._ledger, self.declared_metrics, [body], reserve=reserve)[0]

    def register_trials(
        self,
        params: Iterable[Mapping[str, Any]],
        *,
        seeds: Sequence[int] | None = None,
        fidelity: Mapping[str, Any] | None = None,
    ) -> Sequence[Trial]:
        """Add many pending trials in one commit: all of them, or none when one does not fit.

        Args:
            params: Parameters of each trial.
            seeds: A seed for each trial.
            fidelity: The same for all of them.
        """
        bodies = trial_bodies(self.space, list(params), fidelity, seeds)
        return register(self._ledger, self.declared_metrics, bodies) if bodies else []

    def import_trials(
        self,
        rows: pl.DataFrame | pa.Table | Iterable[Mapping[str, Any] | Report],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> range:
        """Take in finished trials from elsewhere, as Parquet parts; returns their numbers.

        Args:
            rows: A Polars frame, an Arrow table, reports, or mappings, with ``params`` and ``metrics`` (structs,
                mappings, or flat columns such as ``params.lr``; null means absent), and any of status (SUCCEEDED by
                default, and always a final one), name, seed, fidelity, parent, submitted_at, started_at, ended_at
                (aware times), exception, traceback, worker, runner, info, summary, attributes, extras, storage,
                profiles (by name, or as the column has them), sem and n. A metric may also be an `Observation`. A
                report brings all that it says but its number and its attempts; of artifacts it brings the names alone.
            progress: Told how many rows are in after every 131,072.

        Raises:
            InvalidParamsError: names the rows that do not fit. The chunks before theirs are in.

        Cost: two commits and two files for every 131,072 rows. Numbers of a chunk that failed are not used again.
        """
        describe = partial(trial_body, self.space)
        return import_trials(self._ledger, self.declared_metrics, describe, rows, progress)

    # Documents and maintenance

    def document(self, name: str) -> tuple[int, Any]:
        """A named value and its revision, ``(0, None)`` when it was never set."""
        with self._ledger.journal.view() as state:
            revision, value = state.documents.get(check_name(name, "document"), (0, None))
        return revision, unpack(value)

    def set_document(self, name: str, value: Any, *, revision: int | None = None) -> int:
        """Set a named value and return its new revision; None deletes it.

        Args:
            name: Any name, such as ``optimizer``.
            value: Anything `trialstore.model.codec` encodes; large states belong in artifacts.
            revision: The revision it must have now; None overwrites whatever there is.

        Raises:
            StaleRevisionError: it has another revision; nothing was changed.
        """
        packed = pack_dict({"value": value}, name)["value"]
        fields = {"name": check_name(name, "document"), "value": packed, "revision": revision}
        new: int = self._ledger.execute_one(Draft("document", fields))
        return new

    def flush(self) -> int:
        """Commit what is buffered and move finished trials into Parquet parts; returns how many trials moved."""
        return self._upkeep.flush()

    def compact(self, *, grace: timedelta | None = None, progress: Callable[[str], None] | None = None) -> Compaction:
        """Merge many small parts into few large ones; see `trialstore.maintenance.compact.compact`.

        Args:
            grace: Delete the files of parts that were replaced longer ago than this. By default the store's
                retention, so that its past can be read; zero leaves every row in one file alone, for readers that
                know nothing of trialstore, and ends the past.
            progress: Told the name of each table before its parts are merged.
        """
        return self._upkeep.compact(grace, progress)[0]

    def checkpoint(self) -> str:
        """Write the folded state into the store, so that nobody folds what is before; returns the blob's key."""
        return self._upkeep.checkpoint()[0]

    @property
    def _upkeep(self) -> Upkeep:
        return Upkeep(self._ledger.session, lambda: [self._ledger])
