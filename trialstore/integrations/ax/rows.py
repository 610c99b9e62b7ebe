"""The rows that stand for a trial of Ax: one for each arm, and what of it a row cannot say in its extras.

=====================  ==========================================================================
member of ``extras``   what it holds
=====================  ==========================================================================
``ax``                 the trial's index, the arm's name, and on the first row the trial's members
``ax_runs``            on the first row, the generator runs, as Ax encodes them
``ax_run``             on the first row, what the runner said when the trial ran, and stopped
``ax_data_<start>``    the arm's data from row `start` on: a later save adds a member
=====================  ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ax.core.base_trial import BaseTrial
from ax.core.data import DataRow

from trialstore.integrations.ax.coder import Coder
from trialstore.integrations.ax.statuses import from_ax
from trialstore.model.codec import plain
from trialstore.model.times import format_time

__all__ = ["DATA", "Row", "data_row", "final_values", "run_marks", "trial_rows"]

DATA = "ax_data_"
_APART = ("generator_run", "generator_runs", "run_metadata", "stop_metadata", "runner")
_INT64 = 2**63


@dataclass(slots=True)
class Row:
    """One arm of a trial, or a trial without any.

    Attributes:
        arm: Its name; None when the trial has no arm yet.
        fields: Columns of the trials table, as values.
        extras: The members of ``extras``, without the data.
        data: The arm's data, encoded, one list a row.
        marks: What tells the generator runs apart, without their state.
    """

    arm: str | None
    fields: dict[str, Any]
    extras: dict[str, Any]
    data: list[list[Any]]
    marks: list[Any] = field(default_factory=list)


def trial_rows(trial: BaseTrial, data: Iterable[DataRow], coder: Coder, *, reduce: bool) -> list[Row]:
    """The rows of a trial; the first has what belongs to the trial as a whole.

    Args:
        trial: The trial.
        data: Its data.
        coder: Encodes what is Ax's.
        reduce: Leave the generators' state out.
    """
    by_arm: dict[str, list[DataRow]] = {}
    for item in data:
        by_arm.setdefault(item.arm_name, []).append(item)
    status = from_ax(trial.status)
    times = {
        "submitted_at": _time(trial.time_created),
        "started_at": _time(trial.time_run_started),
        "ended_at": _time(trial.time_completed) if status.is_final else None,
    }
    arms = {arm.name: dict(arm.parameters) for arm in trial.arms}
    rows = []
    for name, params in (arms or {None: {}}).items():
        mine = by_arm.pop(name, []) if name is not None else []
        coded = [data_row(item, coder) for item in mine]
        fields = {"status": status, "name": name, "params": params, **times, **final_values(coded)}
        rows.append(Row(name, fields, {"ax": {"trial": trial.index, "arm": name}}, coded))
    first = rows[0]
    members = coder.shallow(trial)
    first.extras["ax"]["members"] = {name: coder.encode(value) for name, value in members.items() if name not in _APART}
    if getattr(trial, "should_add_status_quo_arm", False):
        first.extras["ax"]["add_status_quo"] = True
    if by_arm:  # of arms that the trial does not have
        rest = {name: [data_row(item, coder) for item in items] for name, items in by_arm.items()}
        first.extras["ax"]["other_data"] = rest
    first.extras["ax_run"] = {
        name: coder.encode_any(getattr(trial, name)) for name in ("run_metadata", "stop_metadata")
    }
    runs = trial.generator_runs
    first.marks = run_marks(runs)
    first.extras["ax_runs"] = [encode_run(run, coder, reduce=reduce) for run in runs]
    return rows


_STATE = ("generator_kwargs", "adapter_kwargs", "gen_metadata", "generator_state_after_gen")


def encode_run(run: Any, coder: Coder, *, reduce: bool = False) -> Any:
    """A generator run, without the generator's state if that is asked for."""
    coded = coder.encode(run)
    return {**coded, **dict.fromkeys(_STATE)} if reduce else coded


def run_marks(runs: Sequence[Any]) -> list[Any]:
    """What stays the same of generator runs for as long as they live."""
    return [
        [str(run.time_created), run._generator_key, [[arm._name, arm.signature] for arm in run.arms], list(run.weights)]
        for run in runs
    ]


def data_row(row: DataRow, coder: Coder) -> list[Any]:
    """One row of data without its trial and arm."""
    rest = (row.mean, row.se, row.step, row.start_time, row.end_time, row.n)
    return [row.metric_name, row.metric_signature, *(coder.encode_any(_plain(value)) for value in rest)]


def final_values(data: Sequence[list[Any]]) -> dict[str, dict[str, Any]]:
    """The columns metrics, sem and n: of each metric its last step, as Ax's `Data.df` has it."""
    last: dict[str, tuple[float, list[Any]]] = {}
    for row in data:
        step = row[4]
        place = math.inf if step is None or math.isnan(step) else step
        if row[0] not in last or place > last[row[0]][0]:
            last[row[0]] = (place, row)
    values: dict[str, dict[str, Any]] = {"metrics": {}, "sem": {}, "n": {}}
    for name, (_, row) in last.items():
        for column, value in (("metrics", row[2]), ("sem", row[3]), ("n", _count(row[7]))):
            if value is not None:
                values[column][name] = value
    return values


def _count(value: Any) -> int | None:
    """A count that the column holds; Ax also has fractions of one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _plain(value: Any) -> Any:
    simple = plain(value)
    return simple if type(simple) in (int, float) else value


def _time(time: datetime | None) -> str | None:
    """Ax's times have no zone, and are of the place where the process runs."""
    return None if time is None else format_time(time.astimezone(UTC))
