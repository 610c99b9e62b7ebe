"""AMLTK's reports as trials of a store, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
from amltk.optimization import History, Trial
from amltk.optimization.metric import MetricCollection
from amltk.profiling import Profiler
from amltk.store import PathBucket

from trialstore.experiment import Experiment
from trialstore.integrations.amltk.bucket import TrialStoreBucket
from trialstore.integrations.amltk.carrying import carry
from trialstore.integrations.amltk.metrics import amltk_metrics, store_metrics
from trialstore.integrations.amltk.objects import NOTE, Objects
from trialstore.integrations.amltk.told import (
    amltk_profile,
    amltk_status,
    aware,
    exception_of,
    noted_exception,
    storable,
    store_profile,
    store_status,
)
from trialstore.journal.journal import Draft
from trialstore.life.arriving import ended_trial
from trialstore.model.codec import plain
from trialstore.model.errors import InvalidMetricsError
from trialstore.model.identity import check_name
from trialstore.model.record import TrialRecord
from trialstore.model.times import now_text
from trialstore.registering import trial_body
from trialstore.report import Report

__all__ = ["adopt", "asked", "bind", "ended_record", "load_history", "report_of", "save_history", "save_report"]


def save_history(
    history: History | Iterable[Trial.Report[Any]], experiment: Experiment, *, objects: bool = False
) -> range:
    """Write AMLTK's reports as trials that have ended, in their order; returns the trials' numbers.

    `load_history` gives the same reports. What is in their `TrialStoreBucket`s of this experiment becomes artifacts of
    the trials.

    Args:
        history: The reports.
        experiment: Where to; its metrics are those of the reports.
        objects: Whether what is in the reports' other buckets, in folders say, is copied, and becomes artifacts of the
            trials as well. The reports that come back then have their objects here; otherwise they name the folders.

    Raises:
        InvalidMetricsError: a report has a metric that the experiment has not, or has otherwise.
        InvalidParamsError: names the reports that cannot be stored exactly. Nothing was written of up to 131,072.

    Cost: two commits and two files for every 131,072 reports, and one commit when there are objects in their buckets.
    """
    reports = list(history)
    rows = [reported(report, experiment) for report in reports]
    if objects:
        for row in rows:
            row["attributes"][NOTE].setdefault("home", f"{row['name']}/")
    numbers = experiment.import_trials(rows)
    if objects:
        for number, report in zip(numbers, reports, strict=True):
            if home_in(report.trial.bucket, experiment) is None:
                carry(report.trial.bucket, experiment, number, attempt=1)
        experiment._ledger.commit_buffered()
    _settle(experiment, dict(zip(numbers, reports, strict=True)))
    return numbers


def save_report(report: Trial.Report[Any], experiment: Experiment) -> int:
    """Write one of AMLTK's reports as a trial that has ended; returns the trial's number. See `save_history`.

    `TrialStorePlugin` does it for each trial of a task, and shows in the store the trials that are under way as well.

    Cost: one commit, and one more when there are objects in the report's bucket.
    """
    ledger = experiment._ledger
    record = ended_record(report, experiment)
    body = {name: value for name, value in record.to_json().items() if name not in ("number", "seq")}
    body["params"] = record.params  # a record's own form leaves empty ones out
    number: int = ledger.execute_one(Draft("register", {"trials": [body]}))
    _settle(experiment, {number: report})
    with ledger.journal.view(refresh=False) as state:
        finished = state.finished_live
    ledger.maintain(finished)
    return number


def load_history(experiment: Experiment, *, pickle: bool = False) -> History:
    """All trials of an experiment that have ended, as AMLTK's History, by number.

    Of reports that `save_history`, `save_report` or `TrialStorePlugin` wrote every field comes back. Of trials that
    were not AMLTK's, PRUNED and TIMED_OUT are ``fail``, CANCELED is ``unknown``, and times are local and naive, as
    AMLTK's are. The reports' buckets are `TrialStoreBucket`s of the trials, so `Report.retrieve` gives their artifacts.

    Args:
        experiment: Which.
        pickle: Whether the buckets may unpickle; see `TrialStoreBucket`.

    Raises:
        UnsupportedError: AMLTK does not allow the name of one of the metrics.

    Cost: memory and time for each trial; `Experiment.history` is for analysis of many.
    """
    bucket = TrialStoreBucket.of(experiment, pickle=pickle)
    return History.from_reports(report_of(report, bucket) for report in experiment.reports())


# To the store


def asked(trial: Trial[Any], experiment: Experiment) -> dict[str, Any]:
    """What is known of a trial when it is submitted, as a row of `Experiment.import_trials`.

    Raises:
        InvalidMetricsError: the experiment has other metrics.
    """
    declared = {metric.name: metric for metric in experiment.declared_metrics}
    for metric in store_metrics(trial.metrics.values()):
        if declared.get(metric.name) != metric:
            raise InvalidMetricsError(
                "metric of the trial is none of the experiment's",
                hint="create the experiment with TrialStoreBucket(store, name, metrics=...)",
                trial=trial.name,
                metric=str(metric),
                declared=[str(known) for known in declared.values()],
            )
    left_out: list[str] = []
    noted: dict[str, Any] = {"created_at": _text(trial.created_at)}
    if list(trial.metrics) != list(declared):
        noted["metrics"] = list(trial.metrics)
    home = home_in(trial.bucket, experiment)
    noted |= {"path": str(trial.bucket.path)} if home is None else {"home": home}
    settings = {"memory_unit": _word(trial.profiler.memory_unit), "time_kind": _word(trial.profiler.time_kind)}
    if settings != _SETTINGS or trial.profiler.disabled:
        noted["profiler"] = {**settings, "disabled": trial.profiler.disabled}
    info = storable({"info": trial.info}, "trial", left_out)
    if left_out:
        noted["left_out"] = left_out
    return {
        "name": check_name(trial.name, "trial"),
        "params": trial.config,
        "fidelity": trial.fidelities or None,
        "seed": plain(trial.seed),
        "submitted_at": aware(trial.created_at),
        "attributes": {NOTE: noted},
        **info,
    }


def reported(report: Trial.Report[Any], experiment: Experiment) -> dict[str, Any]:
    """What is known of a trial when its report comes, as a row of `Experiment.import_trials`."""
    trial = report.trial
    row = asked(trial, experiment)
    noted = row["attributes"][NOTE]
    left_out: list[str] = noted.pop("left_out", [])
    noted["reported_at"] = _text(report.reported_at)
    if report.status is Trial.Status.UNKNOWN:
        noted["status"] = report.status.value
    if report.exception is not None:
        row["exception"], noted["exception"] = noted_exception(report.exception)
    if report.traceback is not None:
        row["traceback"] = report.traceback
    names = storable({name: name for name in trial.storage}, "storage", left_out)
    if names:
        noted["storage"] = sorted(names)
        if "home" not in noted:
            row["storage"] = sorted(names)
    extras = storable(trial.extras, "extras", left_out)
    summary = storable(trial.summary, "summary", left_out)
    if left_out:
        noted["left_out"] = left_out
    return {
        **row,
        "status": store_status(report.status),
        "ended_at": aware(report.reported_at),
        "metrics": report.values,
        "profiles": {name: store_profile(name, measured) for name, measured in trial.profiles.items()},
        **({"extras": extras} if extras else {}),
        **({"summary": summary} if summary else {}),
    }


def ended_record(report: Trial.Report[Any], experiment: Experiment) -> TrialRecord:
    """The record of a trial that has ended, packed and without a number."""
    declared = {metric.name: metric for metric in experiment.declared_metrics}
    return ended_trial(reported(report, experiment), declared, partial(trial_body, experiment.space), now_text())


def adopt(experiment: Experiment, reports: Mapping[int, Trial.Report[Any]], attempt: int) -> list[Draft]:
    """Make the objects in the reports' buckets artifacts of the trials, by number; see `Objects.adopt`."""
    homes = {number: home_in(report.trial.bucket, experiment) for number, report in reports.items()}
    return Objects(experiment).adopt({home: (number, attempt) for number, home in homes.items() if home})


def bind(experiment: Experiment, report: Trial.Report[Any], number: int) -> None:
    """Have what is stored in the report's bucket from now on be artifacts of the trial."""
    if home_in(report.trial.bucket, experiment):
        report.trial.bucket = report.trial.bucket.recorded(number)


def _settle(experiment: Experiment, reports: Mapping[int, Trial.Report[Any]]) -> None:
    drafts = adopt(experiment, reports, attempt=1)
    if drafts:
        experiment._ledger.execute(*drafts)
    for number, report in reports.items():
        bind(experiment, report, number)


def home_in(bucket: PathBucket, experiment: Experiment) -> str | None:
    """The bucket's folder among the experiment's, None when it is none of them."""
    if isinstance(bucket, TrialStoreBucket) and bucket.experiment == experiment:
        return bucket.folder
    return None


def _text(time: datetime) -> str:
    if isinstance(time, pd.Timestamp):
        time = time.to_pydatetime(warn=False)
    return time.isoformat()


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


_SETTINGS = {"memory_unit": "B", "time_kind": "wall"}


# From the store


def report_of(report: Report, top: TrialStoreBucket) -> Trial.Report[Any]:
    """AMLTK's report of a trial that has ended.

    Args:
        report: The store's.
        top: The bucket at the top of its experiment.
    """
    noted = report.attributes.get(NOTE)
    noted = dict(noted) if isinstance(noted, Mapping) else {}
    metrics = amltk_metrics(tuple(report.metric_defs.values()))
    if "metrics" in noted:
        by_name = {metric.name: metric for metric in metrics}
        metrics = tuple(by_name[name] for name in noted["metrics"])
    settings = noted.get("profiler", {**_SETTINGS, "disabled": False})
    profiles = {name: amltk_profile(profile) for name, profile in report.profiles.items()}
    trial: Trial[Any] = Trial(
        name=report.name,
        config=dict(report.config),
        bucket=_bucket(report, noted, top),
        info=report.info,
        metrics=MetricCollection.from_collection(metrics),
        created_at=_time(noted.get("created_at"), report.created_at),
        seed=report.seed,
        fidelities=dict(report.fidelities or {}),
        profiler=Profiler(profiles=profiles, **settings),
        summary=dict(report.summary),
        storage=set(noted.get("storage", ()) if noted else report.storage),
        extras=dict(report.extras),
    )
    return Trial.Report(
        trial=trial,
        status=Trial.Status(noted["status"]) if "status" in noted else amltk_status(report.status),
        reported_at=_time(noted.get("reported_at"), report.reported_at),
        exception=None if report.exception is None else exception_of(report.exception, noted.get("exception")),
        traceback=report.traceback,
        values=dict(report.values),
    )


def _bucket(report: Report, noted: Mapping[str, Any], top: TrialStoreBucket) -> PathBucket:
    if "path" in noted and "home" not in noted:
        return PathBucket(noted["path"], create=False)
    home = noted.get("home", f"{report.name}/")
    return (top / home.rstrip("/")).recorded(report.number) if home else top


def _time(noted: str | None, instant: datetime) -> datetime:
    """The time as AMLTK had it, or an instant in AMLTK's manner: local, without a zone."""
    return instant.astimezone().replace(tzinfo=None) if noted is None else datetime.fromisoformat(noted)
