"""From what a caller asks to try, to registered trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, overload

from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.life.typed_results import RESULTS, members_of
from trialstore.model.codec import pack, pack_dict, plain, unpack_dict
from trialstore.model.errors import InvalidMetricsError, InvalidParamsError, LostTrialError, UsageError
from trialstore.model.identity import check_name, packed_hash
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.space import Space
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text
from trialstore.model.typed_trial import TypedTrial
from trialstore.trial import Trial

__all__ = ["Registered", "register", "arriving", "told_apart", "trial_bodies", "trial_body"]

_SHOWN_PROBLEMS = 20


def trial_body(
    space: Space,
    params: Mapping[str, Any],
    fidelity: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
    parent: int | None = None,
    ready_at: datetime | None = None,
    attributes: Mapping[str, Any] | None = None,
    info: Any = None,
) -> dict[str, Any]:
    """What the journal says of a trial that is to be registered; see `Experiment.register_trial`."""
    if type(params) is not dict and not isinstance(params, Mapping):
        raise InvalidParamsError("parameters must be a mapping of names to values", params=params)
    if fidelity is not None and not isinstance(fidelity, Mapping):
        raise InvalidParamsError("a fidelity must be a mapping of names to values", fidelity=fidelity)
    if space:
        values, fidelity = space.validate(params, fidelity)
    else:
        values = {check_name(key, "parameter"): plain(value) for key, value in params.items()}
    packed = pack_dict(values, "params")
    body: dict[str, Any] = {"id": packed_hash(values, packed), "params": packed}
    if fidelity is not None:
        efforts = {check_name(key, "fidelity"): value for key, value in fidelity.items()}
        body["fidelity"] = pack_dict(efforts, "fidelity")
    if seed is not None:
        body["seed"] = _whole(seed, "a seed must be a whole number", seed=seed)
    if parent is not None:
        body["parent"] = _whole(parent, "a parent must be the number of a trial", parent=parent)
    if name is not None:
        body["name"] = check_name(name, "trial")
    if ready_at is not None:
        body["ready_at"] = format_time(ready_at)
    if attributes:
        body["attributes"] = pack_dict(attributes, "attributes")
    if info is not None:
        body["info"] = pack(info, "info")
    return body


def told_apart(trial: TypedTrial) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Parameters and fidelity of a typed trial."""
    params = {str(param.name): param.value for param in trial.typed_params if param.type != "fidelity"}
    effort = {str(param.name): param.value for param in trial.typed_params if param.type == "fidelity"}
    return params, effort or None


def arriving(metrics: Sequence[Metric], trial: TypedTrial | None, status: Status) -> dict[str, Any]:
    """What a trial brings that comes in with a status, and perhaps with results.

    Raises:
        InvalidMetricsError: it has succeeded, and a declared metric is missing or no number.
    """
    body: dict[str, Any] = {} if status is Status.PENDING else {"status": status}
    results = [] if trial is None else trial.results
    values, summary, stored = members_of(results, metrics)
    problems = [problem for metric in metrics if (problem := _unfit(metric, values, status)) is not None]
    if problems:
        raise InvalidMetricsError("results do not fit the experiment:\n    " + "\n    ".join(problems))
    if results:
        body |= {"metrics": pack_dict(values, "metrics"), "extras": pack_dict({RESULTS: stored}, "extras")}
    if summary:
        body["summary"] = pack_dict(summary, "summary")
    if status.is_final:
        body["ended_at"] = now_text()
        times = () if trial is None else (("started_at", trial.start_time), ("ended_at", trial.end_time))
        body |= {name: format_time(_aware(time)) for name, time in times if time is not None}
    if trial is not None and trial.worker is not None:
        body["worker"] = trial.worker
    return body


def _unfit(metric: Metric, values: Mapping[str, Any], status: Status) -> str | None:
    if metric.name not in values:
        return f"{metric.name!r} is missing" if status is Status.SUCCEEDED else None
    return metric.check(values[metric.name])[1]


def _aware(time: datetime) -> datetime:
    """A time without a zone is UTC, as Oríon's are."""
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _whole(value: object, message: str, **facts: object) -> int:
    number = plain(value)
    if type(number) is not int:
        raise UsageError(message, hint=None, **facts)
    return number


def trial_bodies(
    space: Space,
    params: Sequence[Mapping[str, Any]],
    fidelity: Mapping[str, Any] | None,
    seeds: Sequence[int] | None,
) -> list[dict[str, Any]]:
    """`trial_body` of many trials, with all that does not fit in one error."""
    if seeds is not None and len(seeds) != len(params):
        raise UsageError("there must be one seed for each trial", trials=len(params), seeds=len(seeds))
    bodies: list[dict[str, Any]] = []
    problems: list[str] = []
    for index, item in enumerate(params):
        try:
            bodies.append(trial_body(space, item, fidelity, seed=None if seeds is None else seeds[index]))
        except InvalidParamsError as error:
            problems.append(f"trial {index} of the call: {error.message}")
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        shown = problems[:_SHOWN_PROBLEMS] + ([f"… and {more} more trials"] if more > 0 else [])
        raise InvalidParamsError("\n".join(shown), hint="nothing was registered; the space is experiment.space")
    return bodies


def register(
    ledger: Ledger,
    metrics: Sequence[Metric],
    bodies: list[dict[str, Any]],
    *,
    reserve: bool = False,
    first: int | None = None,
) -> Registered:
    """Commit trials, all of them or none; with `reserve`, claimed by this session in the same commit.

    Raises:
        DuplicateTrialError: the experiment allows no repeats, and one of them is one; none was registered.
        StaleRevisionError: the number of the first of them would not be `first`: others came since the caller looked.
    """
    fields: dict[str, Any] = {"trials": bodies}
    if first is not None:
        fields["first"] = first
    if reserve:
        ledger.require_writable()
        ledger.session.lease(ledger.key)
        fields |= {"claimed": True, "worker": ledger.session.worker}
    *_, outcome = ledger.execute(Draft("register", fields))
    if outcome.reason == "duplicate":
        twice = bodies[outcome.value["indexes"][0]]
        ledger.refuse(outcome, id=twice["id"], params=unpack_dict(twice["params"]))
    if outcome.reason is not None:
        ledger.refuse(outcome)
    number: int = outcome.value
    with ledger.journal.view(refresh=False) as state:
        record = state.trials.get(number)
        known = None if record is None else record.decoded()
    if reserve and (known is None or known.attempt != 1 or not known.status.is_active):
        raise LostTrialError(
            "trial was registered, and lost before this process could go on",
            hint="its lease ran out: reserve_trial gives it or another one",
            experiment=ledger.entry.name,
            trial=number,
        )
    return Registered(ledger, metrics, number, bodies, known, owned=reserve)


class Registered(Sequence[Trial]):
    """Trials as they were registered, in order. A handle is made when it is asked for, so a million cost nothing.

    Args:
        ledger: Of their experiment.
        metrics: The experiment's.
        first: Number of the first of them.
        bodies: What the journal says of each.
        known: The first as it is in the journal; None when it has already left the state.
        owned: Whether they were claimed by this session.
    """

    def __init__(
        self,
        ledger: Ledger,
        metrics: Sequence[Metric],
        first: int,
        bodies: Sequence[dict[str, Any]],
        known: TrialRecord | None,
        owned: bool,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._first = first
        self._bodies = bodies
        self._known = known
        self._owned = owned

    def __len__(self) -> int:
        return len(self._bodies)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...

    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        if isinstance(index, slice):
            return [self._trial(position) for position in range(len(self))[index]]
        return self._trial(range(len(self))[index])

    def __iter__(self) -> Iterator[Trial]:
        return (self._trial(position) for position in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} trials of {self._ledger.entry.name!r} from number {self._first}>"

    def _trial(self, position: int) -> Trial:
        known = self._known
        if position == 0 and known is not None:
            return Trial(self._ledger, self._metrics, known, owned=self._owned)
        body = self._bodies[position]
        record = TrialRecord(
            number=self._first + position,
            id=body["id"],
            params=body["params"],
            status=Status.PENDING,
            submitted_at=now_text() if known is None else known.submitted_at,
            seq=-1 if known is None else known.seq,
            seed=body.get("seed"),
            fidelity=body.get("fidelity"),
        )
        return Trial(self._ledger, self._metrics, record.decoded())
