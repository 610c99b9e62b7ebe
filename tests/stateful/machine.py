"""Any calls of the public API in any order, by several sessions, against plain dicts.

A session that is stopped is kept aside and never used again, as if its process had been killed: what it had not
committed is lost. Some of them come back later, as a process does that stood still, and find their trials taken.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import trialstore as ts
from tests.stateful.expected import CLAIMABLE, FINAL, NOON, Expected, RefusedError, View, comparable
from trialstore.query.snapshot import Snapshot
from trialstore.testing import Place

__all__ = ["StoreMachine"]

COLUMNS = {
    "trials": ("trial", "attempt", "status", "seed"),
    "params": ("trial", "name", "value", "text", "type"),
    "metrics": ("trial", "attempt", "name", "step", "value", "text", "type"),
    "telemetry": ("trial", "attempt", "at", "name", "value", "text", "type"),
    "status": ("trial", "attempt", "status", "reason"),
    "artifacts": ("trial", "attempt", "name", "size_bytes", "sha256"),
}
WAYS = ("success", "fail", "crashed", "prune", "cancel", "timed_out")
DEEDS = ("annotate", "delete", "telemetry", "finish", "flush", "compact", "compact at once")
LONG_S = 86400.0  # no heartbeat and no linger falls due while a test runs

who = st.integers(0, 9)
values = st.sampled_from([0, 1, 2**53 + 1, 0.5, -0.0, float("nan"), float("-inf"), True, None, "text", [1, "a"]])
losses = st.sampled_from([0.25, 1, float("nan"), float("inf"), -3.5])
params = st.fixed_dictionaries(
    {"x": st.sampled_from([1, 0.5, 2**60 + 1, "auto", None, True])},
    optional={"y": st.sampled_from([float("nan"), 2**70, "a'b", [1, 2]]), "z": st.integers(-2, 2)},
)


@dataclass
class Held:
    """A trial that a session claimed, and the artifacts stored through that handle."""

    trial: ts.Trial
    stored: dict[str, Any] = field(default_factory=dict)


@dataclass
class Actor:
    """A session, and what it holds."""

    store: ts.Store
    experiment: ts.Experiment
    held: list[Held] = field(default_factory=list)

    @property
    def session(self) -> str:
        return self.store._session.id.current()


class StoreMachine(RuleBasedStateMachine):
    """Sessions on one store. A subclass names the place."""

    new_place: ClassVar[Callable[[], Place]]

    @initialize()
    def create(self) -> None:
        self.place = type(self).new_place()
        self.expected = Expected()
        self.actors: list[Actor] = []
        self.stopped: list[Actor] = []
        self.past: list[tuple[Snapshot, View]] = []
        self.opened = 0
        store = self._open_store()
        store.create_experiment("tune", metrics=[ts.Metric("loss")])
        self._join(store)
        self._join(self._open_store())
        self.register(0, [{"x": 1}, {"x": 0.5}, {"x": "auto"}], None)
        self.claim(0)
        self.claim(1)
        self.finish(0, 0, "success", float("nan"), log=True)
        self.flush(0)  # a trial that has ended stands in a part from the start

    def _open_store(self) -> ts.Store:
        self.opened += 1  # no two have equal options, so each has a session of its own, also when it is unpickled
        options: dict[str, Any] = {"durability": "process", "maintenance": False, "lease_s": LONG_S}
        return self.place.open(linger_s=3600.0 - self.opened / 1000, **options)

    def _join(self, store: ts.Store) -> Actor:
        actor = Actor(store, store["tune"])
        self.actors.append(actor)
        self._fix_lost(actor)  # an experiment looks for lost trials when it is first idle; from now on only when asked
        return actor

    def _actor(self, index: int) -> Actor:
        return self.actors[index % len(self.actors)]

    def _held(self, index: int, which: int) -> tuple[Actor, Held]:
        """A trial that somebody holds, claimed now if nobody holds any."""
        if not any(actor.held for actor in self.actors):
            self.register_and_claim(index, {"x": which})
        holders = [(actor, held) for actor in self.actors for held in actor.held]
        return holders[which % len(holders)]

    # Registering and claiming

    @rule(index=who, items=st.lists(params, min_size=1, max_size=3), seed=st.sampled_from([None, 7]))
    def register(self, index: int, items: list[dict[str, Any]], seed: int | None) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        numbers = [self.expected.register(item, seed) for item in items]
        if len(items) == 1:
            trials = [actor.experiment.register_trial(items[0], seed=seed)]
        else:
            trials = actor.experiment.register_trials(items, seeds=None if seed is None else [seed] * len(items))
        assert [trial.number for trial in trials] == numbers

    @rule(index=who, item=params)
    def register_and_claim(self, index: int, item: dict[str, Any]) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        self.expected.claim(actor.session, self.expected.register(item, None))
        actor.held.append(Held(actor.experiment.register_trial(item, reserve=True)))

    @rule(index=who)
    def claim(self, index: int) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        number = self.expected.claim(actor.session)
        trial = actor.experiment.reserve_trial()
        assert number == (None if trial is None else trial.number)
        if trial is not None:
            assert trial.attempt == self.expected.trials[trial.number]["attempt"]
            actor.held.append(Held(trial))

    # Working

    @rule(index=who, which=who, name=st.sampled_from(["loss", "acc"]), step=st.integers(0, 3), value=values)
    def report(self, index: int, which: int, name: str, step: int, value: Any) -> None:
        actor, held = self._held(index, which)
        held.trial.report({name: value}, step=step, at=NOON)
        self.expected.report(actor.session, held.trial.number, held.trial.attempt, name, step, value)

    @rule(
        index=who, which=who, seconds=st.lists(st.integers(0, 4), max_size=4), value=st.integers(), frame=st.booleans()
    )
    def telemetry(self, index: int, which: int, seconds: list[int], value: int, frame: bool) -> None:
        """Samples again and again of the same few times, by either way: of each only the first counts."""
        actor, held = self._held(index, which)
        value %= 1000
        times = [NOON + timedelta(seconds=second) for second in seconds]
        samples: Any = [(at, "x", value + n) for n, at in enumerate(times)]
        if frame:
            schema = {"at": pl.Datetime("us", "UTC"), "name": pl.String, "value": pl.Int64}
            samples = pl.DataFrame(samples, schema, orient="row")
        held.trial.update_telemetry(held.trial.status, NOON, samples)
        for n, second in enumerate(seconds):
            self.expected.sample(actor.session, held.trial.number, held.trial.attempt, second, "x", value + n)

    @rule(index=who, which=who, ways=st.lists(st.booleans(), min_size=2, max_size=4), commit=st.booleans())
    def telemetry_again(self, index: int, which: int, ways: list[bool], commit: bool) -> None:
        """The same sample by several ways, in one commit or in one each; then whoever comes next commits the rest."""
        for value, frame in enumerate(ways):
            self.telemetry(index, which, [6, value], value * 10, frame)
            if commit:
                actor, _ = self._held(index, which)
                self.expected.commit(actor.session)
                actor.experiment.set_document("pushed", value)

    @rule(index=who, which=who, name=st.sampled_from(["a.bin", "folder/b"]), data=st.binary(max_size=8))
    def store(self, index: int, which: int, name: str, data: bytes) -> None:
        actor, held = self._held(index, which)
        number, attempt = held.trial.number, held.trial.attempt
        held.trial.store({name: data})
        previous = held.stored.get(name)
        held.stored[name] = self.expected.store(actor.session, number, attempt, name, data)
        if previous is not None:
            self.expected.commit(actor.session)
            self._remove(previous)
        assert held.trial.retrieve(name) == data

    @rule(index=who, number=who)
    def delete_artifacts(self, index: int, number: int) -> None:
        """Of any trial, by anyone."""
        actor = self._actor(index)
        if not self.expected.trials:
            return
        number %= len(self.expected.trials)
        trial = actor.experiment.trial(number)
        self.expected.commit(actor.session)
        newest = self.expected.newest(number)
        assert trial.artifacts().keys() == newest.keys()
        trial.delete_from_storage(newest)
        for artifact in newest.values():
            self._remove(artifact)

    def _remove(self, artifact: dict[str, Any]) -> None:
        self.expected.artifacts = [other for other in self.expected.artifacts if other is not artifact]

    # Ending

    @rule(index=who, which=who, way=st.sampled_from(WAYS), loss=losses, log=st.booleans())
    def finish(self, index: int, which: int, way: str, loss: float, log: bool) -> None:
        """In one commit with what was logged just before."""
        actor, held = self._held(index, which)
        if log:
            self.report(index, which, "loss", 9, loss)
            self.telemetry(index, which, [0, 5], 1, frame=False)
            self.store(index, which, "last.bin", b"last")
        actor.held.remove(held)
        trial, attempt = held.trial, held.trial.attempt
        self.expected.commit(actor.session)
        metrics = {"loss": loss} if way in ("success", "prune") else {}
        reason = "not wanted" if way == "cancel" else None
        call: Callable[[], Any] = {
            "crashed": lambda: trial.crashed("it broke"),
            "cancel": lambda: trial.cancel(reason),
        }.get(way, lambda: getattr(trial, way)(**metrics))
        status = dict(zip(WAYS, FINAL_OF_WAY, strict=True))[way]
        self._same(call, lambda: self.expected.finish(trial.number, attempt, status, metrics, reason))

    @rule(index=who, which=who, status=st.sampled_from(["SUSPENDED", "INTERRUPTED"]))
    def give_back(self, index: int, which: int, status: str) -> None:
        actor, held = self._held(index, which)
        actor.held.remove(held)
        trial, attempt = held.trial, held.trial.attempt
        self.expected.commit(actor.session)
        call = trial.suspend if status == "SUSPENDED" else trial.interrupt
        self._same(call, lambda: self.expected.give_back(trial.number, attempt, status))

    def _same(self, call: Callable[[], Any], expect: Callable[[], None]) -> None:
        """The call does what is expected, or is refused when that is."""
        try:
            expect()
        except RefusedError:
            with pytest.raises(ts.errors.ConflictError):
                call()
        else:
            call()

    @rule(index=who, number=who, way=st.sampled_from(["cancel", "success", "raise"]))
    def finish_unclaimed(self, index: int, number: int, way: str) -> None:
        """A trial that nobody runs is ended, or evaluated in a block."""
        actor = self._actor(index)
        waiting = self.expected.numbers(CLAIMABLE)
        if not waiting:
            return
        number = waiting[number % len(waiting)]
        trial = actor.experiment.trial(number)
        self.expected.commit(actor.session)
        if way == "cancel":
            trial.cancel()
            self.expected.step(number, "CANCELED")
            return
        self.expected.claim(actor.session, number)
        attempt = self.expected.trials[number]["attempt"]
        if way == "success":
            trial.success(loss=0.5)
            self.expected.finish(number, attempt, "SUCCEEDED", {"loss": 0.5}, None)
            return
        with trial.begin():
            raise RuntimeError("it broke")
        trial.crashed()
        self.expected.finish(number, attempt, "CRASHED", {}, None)
        assert actor.experiment.trial(number).exception == "RuntimeError: it broke"

    @rule(index=who, number=who, name=st.sampled_from(["tag", "note"]), value=values)
    def annotate(self, index: int, number: int, name: str, value: Any) -> None:
        """Any trial, also one that has ended long ago."""
        actor = self._actor(index)
        if self.expected.trials:
            number %= len(self.expected.trials)
            actor.experiment.trial(number).annotate(**{name: value})
            self.expected.commit(actor.session)
            self.expected.trials[number]["attributes"][name] = value

    @rule(index=who, name=st.sampled_from(["a", "b"]), value=values, revision=st.sampled_from(["any", "right", "old"]))
    def document(self, index: int, name: str, value: Any, revision: str) -> None:
        actor = self._actor(index)
        now, _ = self.expected.documents.get(name, (0, None))
        wanted = {"any": None, "right": now, "old": now - 1}[revision]
        self.expected.commit(actor.session)
        if wanted == now - 1:
            with pytest.raises(ts.errors.StaleRevisionError):
                actor.experiment.set_document(name, value, revision=wanted)
        else:
            assert actor.experiment.set_document(name, value, revision=wanted) == now + 1
            self.expected.documents[name] = (now + 1, value)
        found, expected = actor.experiment.document(name), self.expected.documents.get(name, (0, None))
        assert repr(found) == repr(expected)

    # Sessions that come and go

    @rule(index=who, which=who)
    def expire_and_fix_lost(self, index: int, which: int) -> None:
        """A session falls silent for longer than its lease, as far as the others can see."""
        sessions = sorted({self.expected.trials[n]["session"] for n in self.expected.numbers(("RUNNING",))})
        gone = sessions[which % len(sessions)] if sessions else ""
        if gone:
            self.place.blobs().write(f"leases/experiment=tune/{gone}.json", b'{"lease_s":-1}')
            self.expected.expired.add(gone)
        others = [actor for actor in self.actors if actor.session != gone]
        self._fix_lost(others[index % len(others)] if others else self._join(self._open_store()))

    def _fix_lost(self, actor: Actor) -> None:
        lost = self.expected.fix_lost(actor.session)
        if lost:
            self.expected.commit(actor.session)
        assert [trial.number for trial in actor.experiment.fix_lost_trials()] == lost

    @precondition(lambda self: len(self.actors) < 3)
    @rule()
    def join(self) -> None:
        self._join(self._open_store())

    @rule(index=who)
    def reopen(self, index: int) -> None:
        """Closing commits what was logged; the trials it held stay with the session that is gone."""
        actor = self._actor(index)
        actor.store.close()
        self.expected.commit(actor.session)
        self.actors.remove(actor)
        self._join(self._open_store())

    @rule(index=who)
    def send_to_another_process(self, index: int) -> None:
        """What is unpickled works under a session of its own, and finishes what was held."""
        actor = self._actor(index)
        data = pickle.dumps((actor.store, [held.trial for held in actor.held]))
        actor.store.close()
        self.expected.commit(actor.session)
        self.actors.remove(actor)
        store, trials = pickle.loads(data)
        assert store._session.id.current() != actor.session
        stored = [held.stored for held in actor.held]
        self._join(store).held = [Held(*pair) for pair in zip(trials, stored, strict=True)]

    @rule(index=who)
    def kill(self, index: int) -> None:
        """What was not committed is lost, with nothing else."""
        actor = self._actor(index)
        self.actors.remove(actor)
        self.stopped.append(actor)
        if not self.actors:
            self._join(self._open_store())

    @precondition(lambda self: self.stopped)
    @rule(which=who)
    def come_back(self, which: int) -> None:
        """It stood still, and goes on with what it had logged."""
        self.actors.append(self.stopped.pop(which % len(self.stopped)))

    # Maintenance

    @rule(index=who)
    def flush(self, index: int) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        actor.experiment.flush()

    @rule(index=who, at_once=st.booleans())
    def compact(self, index: int, at_once: bool) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        if at_once:
            actor.experiment.compact(grace=timedelta(0))
            self.past.clear()  # its files are gone
        else:
            actor.experiment.compact()

    @rule(index=who, other=who, which=who, flushes=st.booleans(), deed=st.sampled_from(DEEDS))
    def maintain_beside(self, index: int, other: int, which: int, flushes: bool, deed: str) -> None:
        """Another session does something after a flush or a compaction has looked, and before it commits."""
        if len(self.actors) < 2:
            self._join(self._open_store())
        slow = self._actor(index)
        others = [number for number, actor in enumerate(self.actors) if actor is not slow]
        quick = others[other % len(others)]
        final = self.expected.numbers(FINAL)
        number = final[which % len(final)] if final else which
        deeds: dict[str, Callable[[], None]] = {
            "annotate": lambda: self.annotate(quick, number, "note", which),
            "delete": lambda: self.delete_artifacts(quick, number),
            "telemetry": lambda: self.telemetry_again(quick, which, [True, False], commit=True),
            "finish": lambda: self.finish(quick, which, "success", 0.25, log=True),
            "flush": lambda: self.flush(quick),
            "compact": lambda: self.compact(quick, at_once=False),
            "compact at once": lambda: self.compact(quick, at_once=True),
        }
        self.expected.commit(slow.session)
        ledger = slow.experiment._ledger
        ledger.journal = Interposed(ledger.journal, ("flush",) if flushes else ("replace",), deeds[deed])  # type: ignore[assignment]
        try:
            if flushes:
                slow.experiment.flush()
            else:
                slow.experiment.compact()
        finally:
            ledger.journal = ledger.journal._journal  # type: ignore[attr-defined]

    @rule(index=who, grace=st.sampled_from([timedelta(0), timedelta(days=1)]))
    def vacuum(self, index: int, grace: timedelta) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        assert actor.experiment.vacuum(grace=grace, dry_run=True) is not None
        actor.experiment.vacuum(grace=grace)
        leases = {info.key for info in self.place.blobs().list("leases/experiment=tune/")}
        gone = {session for session in self.expected.expired if f"leases/experiment=tune/{session}.json" not in leases}
        holders = {self.expected.trials[number]["session"] for number in self.expected.numbers(("RUNNING",))}
        assert not gone & holders, "a lease that had run out was deleted before its trials were taken"
        self.expected.expired -= gone  # what such a session claims next counts from its start

    @rule(index=who)
    def checkpoint(self, index: int) -> None:
        self._actor(index).experiment._ledger.journal.checkpoint()

    # Reading

    @rule(index=who)
    def remember(self, index: int) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        self.past.append((actor.experiment.snapshot(), self.expected.snapshot()))

    @precondition(lambda self: self.past)
    @rule(index=who, which=who, way=st.sampled_from(["number", "id", "kept"]))
    def look_back(self, index: int, which: int, way: str) -> None:
        """At what was, from its commits again, or through the snapshot that was kept."""
        kept, view = self.past[which % len(self.past)]
        as_of = kept.id if way == "id" else kept.experiments[0].seq
        snapshot = kept if way == "kept" else self._actor(index).experiment.snapshot(as_of=as_of)
        assert by_frames(snapshot) == view
        if way == "kept":
            assert by_sql(snapshot) == view

    @rule(index=who)
    def look(self, index: int) -> None:
        actor = self._actor(index)
        self.expected.commit(actor.session)
        check(actor.experiment, self.expected)

    @invariant()
    def counts(self) -> None:
        experiment = self.actors[0].experiment
        assert experiment.counts == self.expected.counts()
        assert len(experiment) == len(self.expected.trials)

    def teardown(self) -> None:
        if not hasattr(self, "actors"):
            return
        with self.place.open(mode="r") as reader:  # sees what was committed, and not what others have in memory
            check(reader["tune"], self.expected)
            seqs = [(kept.experiments[0].seq, view) for kept, view in self.past]
            same = [(seq, by_frames(reader["tune"].snapshot(as_of=seq)) == view) for seq, view in seqs]
            assert all(is_same for _, is_same in same), same
        for actor in self.actors + self.stopped:
            actor.store.close()


class Interposed:
    """A session's journal on which something happens right before the first command of some kinds."""

    def __init__(self, journal: Any, kinds: tuple[str, ...], deed: Callable[[], None]) -> None:
        self._journal, self._kinds, self._deeds = journal, kinds, [deed]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def execute(self, *drafts: Any) -> Any:
        if self._deeds and drafts[0].kind in self._kinds:
            self._deeds.pop()()
        return self._journal.execute(*drafts)


FINAL_OF_WAY = ("SUCCEEDED", "FAILED", "CRASHED", "PRUNED", "CANCELED", "TIMED_OUT")


def check(experiment: ts.Experiment, expected: Expected) -> None:
    """Everything that can be read is what is expected, by SQL and by Polars alike."""
    snapshot = experiment.snapshot()
    view = expected.view()
    assert by_sql(snapshot) == view
    assert by_frames(snapshot) == view
    trials = list(experiment.trials())
    for trial, (number, wanted) in zip(trials, expected.trials.items(), strict=True):
        assert (trial.number, trial.status, trial.attempt) == (number, wanted["status"], wanted["attempt"])
        assert repr(dict(trial.params)) == repr(wanted["params"])
        assert repr(dict(trial.metrics)) == repr(wanted["metrics"])
        assert {name: repr(value) for name, value in trial.attributes.items()} == {
            name: repr(value) for name, value in wanted["attributes"].items()
        }
        assert [ended["attempt"] for ended in trial.attempts] == wanted["ended"]
        newest = expected.newest(number)
        if newest:
            assert {name: trial.retrieve(name) for name in newest} == {n: a["data"] for n, a in newest.items()}
    best = experiment.best()
    assert (None if best is None else best.number) == expected.best()


def by_sql(snapshot: Any) -> View:
    queries = {table: ", ".join(f'"{name}"' for name in names) for table, names in COLUMNS.items()}
    return {
        table: comparable(snapshot.sql(f"SELECT {names} FROM {table}").pl().rows()) for table, names in queries.items()
    }


def by_frames(snapshot: Any) -> View:
    frames = {table: snapshot.frame(table).select(names) for table, names in COLUMNS.items()}
    return {table: comparable(frame.collect().rows()) for table, frame in frames.items()}
