"""What the simulated processes do: workers, and those who look after the store, on one experiment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.simulation.history import Call, History, Logged, Seen
from tests.simulation.model import BrokenError, read_rows, table_rows
from tests.simulation.schedule import Process, Scheduler
from tests.simulation.seams import Seams
from tests.simulation.storage import Place, SimulatedBlobs
from trialstore.blobs.resolve import BlobsSpec
from trialstore.experiment import Experiment
from trialstore.ledger import Ledger
from trialstore.maintenance import compact as compaction
from trialstore.model.errors import (
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    SessionExpiredError,
    StoreUnavailableError,
    TrialStoreError,
)
from trialstore.model.metric import Metric
from trialstore.model.times import format_time
from trialstore.session import Options, Session
from trialstore.store import Store
from trialstore.trial import Trial

KEY = "tune"
ABOUT = {"format": 1, "store": "01SIMULATED", "created_at": "2026-11-21T00:00:00.000000Z"}
GRACE = timedelta(hours=1)
KEPT_S = GRACE.total_seconds() - 700
"""For so long a replaced part is there for its readers: clocks that differ, and a slow commit, shorten the grace."""

EXPECTED = (StoreUnavailableError, OutcomeUnknownError, ConflictError)
OPTIONS = Options(lease_s=300, linger_s=60)


class World:
    """One seed's place, its history, and the processes in it."""

    def __init__(self, seed: int, scheduler: Scheduler, place: Place, history: History, seams: Seams) -> None:
        self.scheduler = scheduler
        self.place = place
        self.history = history
        self.seams = seams
        self.chance = random.Random(seed ^ 0x5EED)
        self.repeats = self.chance.random() < 0.7
        self.weights = {name: self.chance.choice([0, 1, 1, 3]) for name in Actor.deeds()}
        self.weights |= {"reserve": 5, "register": 4, "finish": 5}
        self.retention_s = self.chance.choice([1800.0, 7 * 86400.0])
        self.kinds = self.chance.choice([2, 3, 4, 6])
        self.pauses = self.chance.choice([[0.0, 0.0, 0.01, 0.3, 20.0], [0.0, 0.0, 0.05], [0.0, 0.3, 0.3, 200.0]])
        self.finished: list[int] = []
        self.born = 0
        self.processes: dict[str, Process] = {}
        self.next_mark = 0
        self._rows_of_parts: dict[str, list[tuple[Any, ...]]] = {}
        place.on_kill = self.replace

    def part_rows(self, table: str, part: str) -> list[tuple[Any, ...]]:
        """The rows of a part that was ever written, whether or not its file is still there."""
        if part not in self._rows_of_parts:
            data = self.place.ever.get(f"{table}/experiment={KEY}/{part}.parquet")
            if data is None:
                raise BrokenError(f"part {part} of {table} was announced and never written")
            self._rows_of_parts[part] = read_rows(table, data)
        return self._rows_of_parts[part]

    def mark(self) -> int:
        """A number that is in one row only."""
        self.next_mark += 1
        return self.next_mark

    def process(self) -> Process:
        self.born += 1
        skew = self.chance.choice([0.0, self.chance.uniform(-300, 300)])
        process = Process(f"p{self.born}", random.Random(self.chance.getrandbits(64)), skew)
        self.processes[process.name] = process
        return process

    def populate(self) -> None:
        """Start the first processes."""
        for _ in range(self.kinds):
            self.start(after=self.chance.choice([0.0, self.chance.uniform(0, 30)]))

    def start(self, after: float) -> None:
        process = self.process()
        actor = Program(self, process)
        self.scheduler.spawn(process, actor.main, after)
        if self.place.weather.suspended and self.chance.random() < 0.3:
            when = self.scheduler.now + after + self.chance.uniform(0, 0.3)
            self.scheduler.at(when, lambda: self.scheduler.suspend(process, 5000.0, machine=False))

    def replace(self, process: Process) -> None:
        """A new process takes the place of one that died."""
        self.start(after=self.chance.choice([0.1, 10.0, 400.0]))


class Program:
    """A process: it opens the store, runs one or two threads, and closes the store."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process
        self.logged: list[Logged] = []

    def open(self) -> Experiment:
        blobs = SimulatedBlobs(self.world.place, self.process)
        place = BlobsSpec(blobs.url, "machine", None)
        self.store = Store(Session(place, blobs, OPTIONS, self.world.retention_s), ABOUT)
        self.store._session.worker = self.process.name
        while True:
            try:
                return self.store.create_experiment(
                    KEY, metrics=[Metric("loss")], repeats=self.world.repeats, metadata={}, exist_ok=True
                )
            except EXPECTED:
                self.world.scheduler.sleep(1.0)

    def main(self) -> None:
        experiment = self.open()
        chance = self.world.chance
        threads = [Actor(self, experiment, chance.randrange(6, 16)) for _ in range(chance.choice([1, 1, 2]))]
        others = [self.world.scheduler.spawn(self.process, actor.run) for actor in threads[1:]]
        threads[0].run()
        for other in others:
            while not other.done:
                self.world.scheduler.sleep(5.0)
        self.process.ended_at = self.world.scheduler.now
        while True:
            waiting = self.waiting()
            try:
                self.store.close()
            except EXPECTED:
                self.world.scheduler.sleep(5.0)
                continue
            self.acknowledge(waiting)
            return

    def waiting(self) -> list[Logged]:
        """The rows that no call has promised yet."""
        return [row for row in self.logged if not row.acknowledged]

    def acknowledge(self, rows: list[Logged]) -> None:
        """A call that promises came back: all that was logged before it is in the store, or the log says why not."""
        if self.process.name in self.world.history.untraceable:
            self.world.history.untraceable.discard(self.process.name)
            self.logged.clear()
            return
        for row in rows:
            row.acknowledged = True


class Actor:
    """One thread of a process: so many deeds, each chosen by the seed."""

    def __init__(self, program: Program, experiment: Experiment, deeds: int) -> None:
        self.program = program
        self.world = program.world
        self.history = program.world.history
        self.chance = program.process.chance
        self.experiment = experiment
        self.ledger: Ledger = experiment._ledger
        self.deeds_left = deeds
        self.held: list[Trial] = []
        self.snapshots: list[tuple[float | None, Any, dict[str, Counter[Any]]]] = []

    @classmethod
    def deeds(cls) -> list[str]:
        return [name.removeprefix("do_") for name in dir(cls) if name.startswith("do_")]

    def run(self) -> None:
        names = list(self.world.weights)
        weights = list(self.world.weights.values())
        while self.deeds_left > 0:
            self.deeds_left -= 1
            (name,) = self.chance.choices(names, weights)
            self.world.scheduler.sleep(self.chance.choice(self.world.pauses) * self.chance.random())
            self.attempt(name, getattr(self, f"do_{name}"))
        while self.held:
            self.attempt("finish", self.do_finish)

    def attempt(self, name: str, deed: Callable[[], None]) -> None:
        """Do one thing; what fails as it may is only noted."""
        task = self.world.scheduler.current
        assert task is not None
        self.history.steps[task] = []
        self.history.began[task] = self.world.scheduler.now
        waiting = self.program.waiting()
        word = "done"
        try:
            deed()
        except SessionExpiredError:
            word = "expired"
        except EXPECTED as error:
            word = type(error).__name__
        self.history.counts[f"{name}: {word}"] = self.history.counts.get(f"{name}: {word}", 0) + 1
        if any(call.outcome is not None and "experiment=" in call.journal for call in self.calls()):
            self.program.acknowledge(waiting)

    def calls(self, kind: str | None = None) -> list[Call]:
        """What this step has asked of a journal so far."""
        task = self.world.scheduler.current
        assert task is not None
        return [call for call in self.history.steps[task] if kind in (None, call.kind)]

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.history.wrong.append(f"{self.program.process.name}: {what}: {found!r}, expected {wanted!r}")

    def log(self, table: str, mark: Any) -> None:
        row = Logged(table, mark)
        self.history.logged.append(row)
        self.program.logged.append(row)

    # Trials

    def do_register(self) -> None:
        attributes = {"a": self.world.mark()} if self.chance.random() < 0.3 else None
        ready_at = None
        if self.chance.random() < 0.15:
            ready_at = self.world.seams.now() + timedelta(seconds=self.chance.uniform(-60, 60))
        if self.chance.random() < 0.3:
            trials = self.experiment.register_trials([{"x": self.x()} for _ in range(self.chance.randrange(1, 5))])
        else:
            trials = [self.experiment.register_trial({"x": self.x()}, attributes=attributes, ready_at=ready_at)]
        (call,) = self.calls("register")
        first = call.outcome.value if call.outcome else None
        self.expect("numbers of registered trials", [t.number for t in trials], [first + i for i in range(len(trials))])

    def x(self) -> int:
        return self.chance.randrange(40) if not self.world.repeats else self.world.mark()

    def do_reserve(self) -> None:
        began, began_s = format_time(self.world.seams.now()), self.world.scheduler.now
        trial = self.experiment.reserve_trial()
        claims = self.calls("claim")
        value = claims[-1].outcome.value if claims and claims[-1].outcome else None
        if trial is None and (not claims or value is not None):
            name = self.program.process.name
            seqs = [look.seq for look in self.history.looks if look.process == name and look.asked_at >= began_s]
            kind, found = ("idle", began) if not claims else ("overdue", value)
            self.history.seen.append(Seen(kind, name, min(seqs), max(seqs), found))
            return
        self.expect("claimed trial", None if trial is None else [trial.number, trial.attempt], value)
        if trial is not None:
            self.held.append(trial)

    def do_finish(self) -> None:
        if not self.held:
            return
        trial = self.held.pop(self.chance.randrange(len(self.held)))
        for _ in range(5):
            try:
                self.end(trial)
                self.world.finished.append(trial.number)
                return
            except (StoreUnavailableError, SessionExpiredError):
                self.world.scheduler.sleep(1.0)

    def end(self, trial: Trial) -> None:
        match self.chance.randrange(8):
            case 0:
                trial.fail(loss=self.world.mark())
            case 1:
                trial.crashed("boom", "here")
            case 2:
                trial.interrupt("enough")
            case 3:
                trial.suspend()
            case _:
                trial.success(loss=self.world.mark())

    def do_report(self) -> None:
        trial = self.a_held()
        if trial is not None:
            at = self.world.seams.now()
            values = {f"m{i}": self.world.mark() for i in range(self.chance.choice([1, 12, 12]))}
            step = self.chance.choice([None, 3])
            trial.report(values, step=step, at=at)
            for name, value in values.items():
                self.log("metrics", (trial.number, trial.attempt, name, step, _spelled(at), value))

    def do_telemetry(self) -> None:
        trial = self.a_held()
        if trial is not None:
            at = self.world.seams.now()
            samples = [(at, f"cpu{self.world.mark()}", i) for i in range(self.chance.choice([1, 3, 12]))]
            trial.update_telemetry(trial.status, at, samples)
            for _, name, value in samples:
                self.log("telemetry", (trial.number, trial.attempt, _spelled(at), name, value))

    def do_artifact(self) -> None:
        trial = self.a_held()
        if trial is not None:
            name = f"{self.chance.randrange(3)}.bin"
            (artifact,) = trial.store({name: b"%d" % self.chance.randrange(6)})
            # One that replaces an earlier one has that removed, so only its own row is looked for.
            self.log("artifacts", (trial.number, trial.attempt, artifact.id, artifact.path))

    def a_held(self) -> Trial | None:
        return self.chance.choice(self.held) if self.held else None

    def do_annotate(self) -> None:
        trial = self.a_held() if self.chance.random() < 0.3 else self.any_trial()
        if trial is not None:
            trial.annotate(**{f"t{self.chance.randrange(3)}": self.world.mark()})

    def any_trial(self) -> Trial | None:
        count = len(self.experiment)
        if not count:
            return None
        ended = [number for number in self.world.finished[-4:] if number < count]
        number = self.chance.choice(ended) if ended and self.chance.random() < 0.5 else self.chance.randrange(count)
        low = self.history.last_seq(self.ledger.journal._log.blob(0))
        trial = self.experiment.trial(number)
        high = self.look()
        self.history.seen.append(Seen("trial", self.program.process.name, low, high, (number, _facts(trial))))
        return trial

    def look(self) -> int:
        with self.ledger.journal.view(refresh=False) as state:
            return int(state.seq)

    def do_read(self) -> None:
        self.any_trial()

    def do_document(self) -> None:
        revision, _ = self.experiment.document("optimizer")
        expected = self.chance.choice([revision, revision, None])
        new = self.experiment.set_document("optimizer", self.world.mark(), revision=expected)
        (call,) = self.calls("document")
        self.expect("revision of a document", new, call.outcome.value if call.outcome else None)

    def do_lost(self) -> None:
        self.experiment.fix_lost_trials()

    # Maintenance

    def do_flush(self) -> None:
        self.experiment.flush()

    def do_compact(self) -> None:
        self.experiment.compact(grace=GRACE)

    def do_tidy(self) -> None:
        compaction.tidy(self.ledger.blobs, self.ledger.key, self.ledger.journal)

    def do_vacuum(self) -> None:
        self.experiment.vacuum()

    def do_checkpoint(self) -> None:
        self.ledger.journal.checkpoint()

    # Reading everything

    def do_snapshot(self) -> None:
        """Take a snapshot, read it, and look at it again later."""
        until = None
        if self.chance.random() < 0.3:
            last = self.history.last_seq(self.ledger.journal._log.blob(0))
            until = self.chance.randrange(last + 1) if last >= 0 else None
        # What was as of long ago may have lost its files, at once or while it is read; that is no promise. Whether they
        # were kept for as long as they must be, `check_files` sees.
        taken_at = self.world.scheduler.now if until is None else None
        try:
            snapshot = self.ledger.snapshot(until)
        except NotFoundError:
            if until is None or self.world.place.has(self.ledger.journal._log.blob(0)):
                raise
            return  # history of that time is no longer kept
        if until is not None and snapshot.seq != until:
            self.history.wrong.append(f"a snapshot as of {until} is of {snapshot.seq}")
        # The process may have stood still since it looked, for longer than files are kept for readers.
        rows = read_snapshot(self.world, snapshot, self.program.process, self._is_recent(taken_at))
        if rows is not None:
            self.history.seen.append(Seen("rows", self.program.process.name, snapshot.seq, snapshot.seq, rows))
            self.snapshots.append((taken_at, snapshot, rows))

    def do_reread(self) -> None:
        if self.snapshots:
            taken_at, snapshot, before = self.chance.choice(self.snapshots)
            rows = read_snapshot(self.world, snapshot, self.program.process, self._is_recent(taken_at))
            if rows is not None and rows != before:
                self.history.wrong.append(f"the snapshot of {snapshot.seq} has changed")

    def _is_recent(self, taken_at: float | None) -> bool:
        """Whether the files of what was the present then must still be there."""
        return taken_at is not None and self.world.scheduler.now - taken_at < KEPT_S


def read_snapshot(world: World, snapshot: Any, process: Process, whole: bool) -> dict[str, Counter[Any]] | None:
    """All rows of a snapshot, read from its files and its tables; None when files were deleted after their grace."""
    found: dict[str, Counter[Any]] = {}
    for table in ("trials", "metrics", "telemetry", "status", "artifacts"):
        rows: Counter[Any] = Counter(table_rows(table, snapshot.live[table].to_pylist()))
        for part in snapshot.parts:
            if part.table != table:
                continue
            data = world.place.blobs.get(part.blob_key(snapshot.key))
            if data is None:
                if whole:
                    world.history.wrong.append(f"{process.name}: part {part.id} of {table} does not exist")
                return None
            gone = snapshot.superseded.get(part.id, ())
            for row in world.part_rows(table, part.id):
                if row[0] not in gone or table != "trials":
                    rows[row] += 1
        if table == "artifacts":
            rows = Counter({row: n for row, n in rows.items() if row[2] not in snapshot.removed_artifacts})
        found[table] = rows
    return found


def _facts(trial: Trial) -> dict[str, Any]:
    record = trial._held.record
    return {
        "params": dict(record.params),
        "status": str(record.status),
        "attempt": record.attempt,
        "worker": record.worker,
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "metrics": dict(record.metrics),
        "attributes": dict(record.attributes or {}),
        "attempts": [{name: _plain(value) for name, value in ended.items()} for ended in record.attempts],
        "seq": record.seq,
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _spelled(at: Any) -> str:
    return str(at.replace(tzinfo=None).isoformat(timespec="microseconds")) + "Z"


__all__ = ["Actor", "Program", "TrialStoreError", "World", "read_snapshot"]
