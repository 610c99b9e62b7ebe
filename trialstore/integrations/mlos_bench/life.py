"""What mlos_bench does to a trial, as commands of the journal: the fold decides who is first, on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.values import split_results
from trialstore.interning import interning_of
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.life.held import Held
from trialstore.model.codec import pack_dict
from trialstore.model.identity import check_name, packed_hash
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time
from trialstore.tables.parts import read_records

__all__ = [
    "end",
    "ended_records",
    "look_again",
    "next_trial_id",
    "open_records",
    "register",
    "start",
    "start_of",
]


def next_trial_id(ledger: Ledger) -> int:
    """The id that the next trial will have unless somebody is quicker: trials are numbered from 0, ids from 1."""
    with ledger.journal.view() as state:
        return state.next_number + 1


def register(
    experiment: Experiment,
    params: Mapping[str, Any],
    ts_start: datetime,
    metadata: Mapping[str, Any],
    first_id: int = 1,
) -> TrialRecord:
    """Add a pending trial. No end of a process takes it back, nor does a crash of the machine once a trial has ended.

    Its configuration gets an id in the whole store with the next commit of the catalog, or when somebody asks for it.
    Two processes that add to one experiment get two numbers, whoever comes first: the fold gives them.

    Args:
        experiment: The trial's.
        params: Values of the tunables.
        ts_start: When it may begin, aware.
        metadata: What else is known of it.
        first_id: The id that it gets when it is the first trial of all; the numbers before it are not used.
    """
    ledger = experiment._ledger
    _check(tuple(params))
    packed = pack_dict(params, "params")
    digest = packed_hash(params, packed)
    body: dict[str, Any] = {
        "id": digest,
        "params": packed,
        "ready_at": format_time(ts_start),
    }
    if metadata:
        body["attributes"] = pack_dict(metadata, "config")
    drafts = [Draft("register", {"trials": [body]})]
    if first_id > 1 and next_trial_id(ledger) == 1:
        drafts.insert(0, Draft("allocate", {"count": first_id - 1}))
    *_, outcome = ledger.execute(*drafts, force=False)
    if outcome.reason is not None:
        ledger.refuse(outcome)
    interning_of(ledger.session).later(digest, packed)
    record = _known(ledger, outcome.value)
    assert record is not None
    return record


@lru_cache(maxsize=64)
def _check(names: tuple[str, ...]) -> None:
    for name in names:
        check_name(name, "parameter")


def start_of(record: TrialRecord) -> str:
    """When a trial began, or is meant to: the stored spelling of mlos_bench's ``ts_start``."""
    return record.started_at or record.ready_at or record.submitted_at


def start(held: Held, status: Status, at: str) -> bool:
    """Take a trial to a status in which it has not ended; False, and nothing changes, where it runs or has ended.

    That a pending trial runs is durable, and seen by others, with the next commit, at the latest after the linger; of
    several processes that say so at once one is its worker. Any other step is durable when this returns, and of several
    processes that take it exactly one is told True.

    Cost: a look for what others committed; a conditional put where the trial does not begin to run.
    """
    ledger, number = held.ledger, held.record.number
    ledger.require_writable()
    if status is Status.RUNNING:
        look_again(held)
        if held.record.status.is_claimable:
            _run(held, at)
            return True
    while True:
        now = held.record.status
        if now.is_final or now is Status.RUNNING or not (now is status or now.allows(status)):
            held.refresh()
            if held.record.status is now:
                return False
            continue  # it was pending again, or somebody ended it
        drafts = []
        if now is not status:
            if status.is_active:
                ledger.session.lease(ledger.key)
            step = {"trial": number, "status": status, "was": now, "when": at, "worker": ledger.session.worker}
            drafts.append(Draft("status", step))
        if not drafts or ledger.execute(*drafts)[-1].reason is None:
            if now is status or now.is_active:
                times = {"started_at": at} if status.is_active else {"ready_at": at, "started_at": None}
                ledger.execute(Draft("amend", {"trial": number, **times}))
            _look(held)
            if status.is_active and not held.owned:
                held.owned = True
                ledger.session.hold(ledger.key)
            return True
        held.refresh()  # somebody was quicker: look at what they did


def _run(held: Held, at: str) -> None:
    """Say that a pending trial runs, which the fold decides when it comes there: whoever is first is its worker.

    The attempt that this process then speaks for is the next one, whether it is its own or that of who was quicker.
    """
    ledger, record = held.ledger, held.record
    ledger.session.lease(ledger.key)
    worker = ledger.session.worker
    step = {"trial": record.number, "status": Status.RUNNING, "was": record.status, "when": at, "worker": worker}
    ledger.log_step(Draft("status", step))
    held.record = replace(
        record, status=Status.RUNNING, attempt=record.attempt + 1, started_at=at, worker=worker, session=None
    )
    if not held.owned:
        held.owned = True
        ledger.session.hold(ledger.key)


def look_again(held: Held) -> None:
    """Know of a trial what everybody committed, and what this process said of it."""
    held.ledger.settle()
    held.refresh()


def end(held: Held, status: Status, at: str, results: Mapping[str, Any]) -> bool:
    """End a trial with its results, in one commit with its telemetry; False, and nothing changes, where it has ended.

    Of several processes that end one trial exactly one is told True, and its results are the trial's.

    Cost: one conditional put.
    """
    metrics, summary = split_results(results)
    values = {name: pack_dict(body, name) for name, body in (("metrics", metrics), ("summary", summary)) if body}
    ledger, number = held.ledger, held.record.number
    ledger.require_writable()
    while not held.record.status.is_final:
        record = held.record
        attempt = record.attempt
        drafts = []
        if not record.status.is_active:
            # Nobody said that it runs, so it ran since it was to begin.
            begun = {"status": Status.RUNNING, "was": record.status, "when": start_of(record)}
            drafts.append(Draft("status", {"trial": number, "worker": ledger.session.worker, **begun}))
            attempt += 1
        drafts.append(Draft("finish", {"trial": number, "attempt": attempt, "status": status, "when": at, **values}))
        *_, outcome = ledger.execute(*drafts)
        if outcome.reason is None:
            _look(held)
            ledger.maintain(outcome.value)
            return True
        if outcome.reason == "no trial":
            ledger.refuse(outcome)
        held.refresh()
    held.disown()
    return False


def _look(held: Held) -> None:
    """Know of the trial what this process has folded, without looking for more."""
    record = _known(held.ledger, held.record.number)
    assert record is not None
    held.record = record
    if not record.status.is_active:
        held.disown()


def _known(ledger: Ledger, number: int) -> TrialRecord | None:
    with ledger.journal.view(refresh=False) as state:
        record = state.trials.get(number)
        if record is not None:
            return record.decoded()
    return ledger.record(number)  # a flush was quicker


def open_records(ledger: Ledger) -> list[TrialRecord]:
    """Trials that have not ended, by number. They are all in the journal's state, so no table is read."""
    ledger.settle()
    found = []
    with ledger.journal.view() as state:
        missing = sum(count for status, count in state.counts.items() if not status.is_final)
        for record in reversed(state.trials.values()):  # they are mostly the newest
            if not missing:
                break
            if not record.status.is_final:
                found.append(record.decoded())
                missing -= 1
    return sorted(found, key=lambda record: record.number)


def ended_records(ledger: Ledger, after: int = -1) -> Iterator[TrialRecord]:
    """Trials that have ended and have a number above `after`, by number.

    Cost: parts that have none are not read, and of what is in memory only the trials above `after` are looked at.
    """
    with ledger.journal.view() as state:
        fewer = max(0, state.next_number - 1 - after) < len(state.trials)
        numbers = range(after + 1, state.next_number) if fewer else state.trials.keys()
        chosen = (state.trials[number] for number in numbers if number > after and number in state.trials)
        live = {record.number: record.decoded() for record in chosen if record.status.is_final}
        parts = [p for p in state.manifest.parts.values() if p.table == "trials" and p.rows and p.trials[-1][1] > after]
        superseded = {part.id: set(state.manifest.superseded.get(part.id, ())) for part in parts}
    for part in parts:
        for record in read_records(ledger.blobs, ledger.key, part):
            if record.number > after and record.number not in superseded[part.id]:
                live[record.number] = record
    for number in sorted(live):
        yield live[number]
