"""The samples of one trial in mlos_bench's order and spelling."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.values import in_mlos_zone, text
from trialstore.query.collect import collected
from trialstore.tables.values import value_of

__all__ = ["telemetry_rows"]


def telemetry_rows(experiment: Experiment, trial_id: int) -> list[tuple[datetime, str, Any]]:
    """Time, name and value as text, by time and name; of equal samples the first that came.

    Cost: the row groups of the telemetry table that hold some of this trial.
    """
    rows = collected(experiment.telemetry(trial_id - 1).sort("at", "name"))
    columns = (rows[name].to_list() for name in ("type", "value", "text"))
    values = [text(value_of(*parts)) for parts in zip(*columns, strict=True)]
    return list(zip(in_mlos_zone(rows["at"].to_list()), rows["name"].to_list(), values, strict=True))
