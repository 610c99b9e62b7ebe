"""mlos_bench's classes for what was stored, read from the store's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import pandas
import polars as pl
from mlos_bench.environments.status import Status as MlosStatus
from mlos_bench.storage.base_experiment_data import ExperimentData
from mlos_bench.storage.base_trial_data import TrialData
from mlos_bench.storage.base_tunable_config_data import TunableConfigData
from mlos_bench.storage.base_tunable_config_trial_group_data import TunableConfigTrialGroupData
from mlos_bench.util import try_parse_val

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.interface import accepted
from trialstore.integrations.mlos_bench.repository import Repository
from trialstore.integrations.mlos_bench.results import heads, results_frame
from trialstore.integrations.mlos_bench.statuses import MLOS_NAMES
from trialstore.integrations.mlos_bench.telemetry import telemetry_rows
from trialstore.integrations.mlos_bench.values import in_mlos_zone, results_of, texts
from trialstore.model.errors import ExperimentNotFoundError
from trialstore.model.record import TrialRecord
from trialstore.query.collect import collected
from trialstore.store import Store

__all__ = [
    "ExperimentTrialStoreData",
    "TrialTrialStoreData",
    "TunableConfigTrialGroupTrialStoreData",
    "TunableConfigTrialStoreData",
]


class ExperimentTrialStoreData(ExperimentData):
    """An experiment of the store. Every property looks at the store anew.

    Args:
        store: Where it is.
        experiment: The store's.
    """

    def __init__(self, *, store: Store, experiment: Experiment) -> None:
        metadata = experiment.metadata
        origin = Repository.from_metadata(metadata)
        super().__init__(
            experiment_id=experiment.name,
            description=str(metadata.get("description") or ""),
            root_env_config=origin.path,
            git_repo=origin.git_repo,
            git_commit=origin.git_commit,
        )
        self._store = store
        self._experiment = experiment

    @property
    def objectives(self) -> dict[str, Literal["min", "max"]]:
        """What is optimized, by name."""
        metrics = sorted(self._experiment.declared_metrics, key=lambda metric: metric.name)
        return {metric.name: "min" if metric.minimize else "max" for metric in metrics}

    @property
    def trials(self) -> dict[int, TrialData]:
        """All trials, by id. For analysis, `results_df` is much faster."""
        return trials_data(self._store, self._experiment)

    @property
    def tunable_configs(self) -> dict[int, TunableConfigData]:
        """The configurations that were tried, by id."""
        return {
            config_id: TunableConfigTrialStoreData(
                store=self._store, experiment=self._experiment, tunable_config_id=config_id
            )
            for config_id in self._groups()
        }

    @property
    def tunable_config_trial_groups(self) -> dict[int, TunableConfigTrialGroupData]:
        """The trials of each configuration, by its id."""
        return {
            config_id: TunableConfigTrialGroupTrialStoreData(
                store=self._store,
                experiment=self._experiment,
                tunable_config_id=config_id,
                tunable_config_trial_group_id=group_id,
            )
            for config_id, group_id in self._groups().items()
        }

    @property
    def default_tunable_config_id(self) -> int | None:
        """The configuration of the first trial that was marked ``is_defaults``, or of the first trial of all."""
        rows = heads(self._experiment, None, "attributes")
        if rows.is_empty():
            return None
        marked = pl.col("attributes").str.json_path_match("$.is_defaults").str.to_lowercase().is_in(["1", "true"])
        chosen = rows.sort(marked.fill_null(value=False), descending=True, maintain_order=True)
        return int(chosen["tunable_config_id"][0])

    @property
    def results_df(self) -> pandas.DataFrame:
        """One row a trial: its times, configuration, status, the values of its tunables and its results."""
        return results_frame(self._experiment)

    @property
    def status_df(self) -> pandas.DataFrame:
        """One row a step of a trial from one status to another: ``trial_id``, ``ts``, ``status``, in that order.

        What was noted twice for one time is shown once.
        """
        rows = self._experiment.status_history().select(
            (pl.col("trial") + 1).alias("trial_id"),
            pl.col("at").alias("ts"),
            pl.col("status").replace({str(one): name for one, name in MLOS_NAMES.items()}),
        )
        once = rows.unique(["trial_id", "ts"], keep="first", maintain_order=True)
        return collected(once.sort("trial_id", "ts", maintain_order=True)).to_pandas()

    def _groups(self) -> dict[int, int]:
        """The first trial of each configuration, in the order of these."""
        rows = heads(self._experiment).select("tunable_config_id", "tunable_config_trial_group_id").drop_nulls()
        return dict(rows.unique().sort("tunable_config_id").iter_rows())


def trials_data(store: Store, experiment: Experiment, config_id: int | None = None) -> dict[int, TrialData]:
    """The trials of an experiment, or those of one configuration, by id."""
    rows = heads(experiment, config_id)
    starts, ends = (in_mlos_zone(rows[name].to_list()) for name in ("ts_start", "ts_end"))
    columns = (rows[name].to_list() for name in ("trial_id", "tunable_config_id", "status", "trial_runner_id"))
    return {
        trial_id: TrialTrialStoreData(
            store=store,
            experiment=experiment,
            trial_id=trial_id,
            tunable_config_id=config,
            ts_start=ts_start,
            ts_end=ts_end,
            status=MlosStatus[status],
            trial_runner_id=runner,
        )
        for trial_id, config, status, runner, ts_start, ts_end in zip(*columns, starts, ends, strict=True)
    }


class TrialTrialStoreData(TrialData):
    """A trial of an experiment in the store.

    Args:
        store: Where it is.
        experiment: Whose trial.
        trial_id: Its id.
        tunable_config_id: Of its configuration.
        ts_start: When it began, or is to begin.
        ts_end: When it ended.
        status: How it stands.
        trial_runner_id: Who runs it.
    """

    def __init__(
        self,
        *,
        store: Store,
        experiment: Experiment,
        trial_id: int,
        tunable_config_id: int,
        ts_start: datetime,
        ts_end: datetime | None,
        status: MlosStatus,
        trial_runner_id: int | None = None,
    ) -> None:
        super().__init__(
            experiment_id=experiment.name,
            trial_id=trial_id,
            tunable_config_id=tunable_config_id,
            ts_start=ts_start,
            ts_end=ts_end,
            status=status,
            **accepted(TrialData.__init__, trial_runner_id=trial_runner_id),
        )
        self._trial_runner_id = trial_runner_id
        self._store = store
        self._experiment = experiment

    @property
    def trial_runner_id(self) -> int | None:
        """Who runs the trial, None for anybody."""
        return self._trial_runner_id

    @property
    def tunable_config(self) -> TunableConfigData:
        """The values of its tunables."""
        return TunableConfigTrialStoreData(
            store=self._store, experiment=self._experiment, tunable_config_id=self._tunable_config_id
        )

    @property
    def tunable_config_trial_group(self) -> TunableConfigTrialGroupData:
        """The trials of the same configuration."""
        return TunableConfigTrialGroupTrialStoreData(
            store=self._store, experiment=self._experiment, tunable_config_id=self._tunable_config_id
        )

    @property
    def results_df(self) -> pandas.DataFrame:
        """Its results by name: the columns ``metric`` and ``value``, text."""
        return _pairs("metric", results_of(self._record()))

    @property
    def results_dict(self) -> dict[str, Any]:
        """Its results by name: numbers where the text is one."""
        return _parsed(results_of(self._record()))

    @property
    def telemetry_df(self) -> pandas.DataFrame:
        """Its samples by time and name: the columns ``ts``, ``metric`` and ``value``, text."""
        rows = telemetry_rows(self._experiment, self._trial_id)
        return pandas.DataFrame(rows, columns=["ts", "metric", "value"])

    @property
    def metadata_df(self) -> pandas.DataFrame:
        """What else is known of it, by name: the columns ``parameter`` and ``value``, text."""
        return _pairs("parameter", self._record().attributes or {})

    @property
    def metadata_dict(self) -> dict[str, Any]:
        """What else is known of it, by name: numbers where the text is one."""
        return _parsed(self._record().attributes or {})

    @property
    def status_df(self) -> pandas.DataFrame:
        """Its steps from one status to another: ``ts`` and ``status``, by time."""
        history = ExperimentTrialStoreData(store=self._store, experiment=self._experiment).status_df
        return history[history["trial_id"] == self._trial_id][["ts", "status"]].reset_index(drop=True)

    def _record(self) -> TrialRecord:
        record = self._experiment._ledger.record(self._trial_id - 1)
        assert record is not None
        return record


class TunableConfigTrialStoreData(TunableConfigData):
    """The values of all tunables, which trials of any experiment may share.

    Args:
        store: Where it is.
        experiment: In which it was tried.
        tunable_config_id: Its id.
    """

    def __init__(self, *, store: Store, experiment: Experiment, tunable_config_id: int) -> None:
        super().__init__(tunable_config_id=tunable_config_id)
        self._store = store
        self._experiment = experiment

    @property
    def config_df(self) -> pandas.DataFrame:
        """The values by name: the columns ``parameter`` and ``value``, text."""
        return _pairs("parameter", self._values())

    @property
    def config_dict(self) -> dict[str, Any]:
        """The values by name: numbers where the text is one."""
        return _parsed(self._values())

    def _values(self) -> dict[str, Any]:
        if self._tunable_config_id < 0:  # it has no id in the store: it is that of a trial
            record = self._experiment._ledger.record(-self._tunable_config_id - 1)
            return {} if record is None else record.params
        try:
            return self._store.configuration(self._tunable_config_id)
        except ExperimentNotFoundError:
            return {}


class TunableConfigTrialGroupTrialStoreData(TunableConfigTrialGroupData):
    """The trials of an experiment that have one configuration.

    Args:
        store: Where it is.
        experiment: Whose trials.
        tunable_config_id: Of the configuration.
        tunable_config_trial_group_id: The first of them; found out when it is asked for.
    """

    def __init__(
        self,
        *,
        store: Store,
        experiment: Experiment,
        tunable_config_id: int,
        tunable_config_trial_group_id: int | None = None,
    ) -> None:
        super().__init__(
            experiment_id=experiment.name,
            tunable_config_id=tunable_config_id,
            tunable_config_trial_group_id=tunable_config_trial_group_id,
        )
        self._store = store
        self._experiment = experiment

    def _get_tunable_config_trial_group_id(self) -> int:
        rows = heads(self._experiment, self._tunable_config_id)
        assert not rows.is_empty()
        return int(rows["tunable_config_trial_group_id"][0])

    @property
    def tunable_config(self) -> TunableConfigData:
        """The values of the tunables."""
        return TunableConfigTrialStoreData(
            store=self._store, experiment=self._experiment, tunable_config_id=self._tunable_config_id
        )

    @property
    def trials(self) -> dict[int, TrialData]:
        """The trials, by id."""
        return trials_data(self._store, self._experiment, self._tunable_config_id)

    @property
    def results_df(self) -> pandas.DataFrame:
        """Like `ExperimentTrialStoreData.results_df`, of these trials."""
        return results_frame(self._experiment, self._tunable_config_id)


def _pairs(name: str, values: dict[str, Any]) -> pandas.DataFrame:
    rows = sorted(texts(values).items())
    # pandas' own column of text would turn None into NaN.
    kind = object if any(value is None for _, value in rows) else None
    return pandas.DataFrame(rows, columns=[name, "value"], dtype=kind)


def _parsed(values: dict[str, Any]) -> dict[str, Any]:
    """What mlos_bench makes of the text of each value; its own way there goes through a frame, and loses None."""
    return {name: try_parse_val(value) for name, value in sorted(texts(values).items())}
