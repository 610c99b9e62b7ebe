"""One seed, from its weather to the verdict."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.simulation.actors import GRACE, Actor, Program, World, read_snapshot
from tests.simulation.checks import Audit, digest
from tests.simulation.history import History, Seen, recorded
from tests.simulation.model import BrokenError
from tests.simulation.schedule import Process, Scheduler
from tests.simulation.seams import Seams, installed
from tests.simulation.storage import Place, Weather
from trialstore.experiment import Experiment


@dataclass(frozen=True)
class Ending:
    """How a seed ended.

    Attributes:
        problem: What does not hold, None when all does.
        check: The check that found it, None where the code under test failed by itself.
        digest: What two runs of the seed must share.
        counts: Of deeds by what became of them, of requests, and of commits.
    """

    seed: int
    problem: str | None
    check: str | None
    digest: str
    counts: Counter[str]
    trace: list[str]


def settings(chance: random.Random) -> dict[str, Any]:
    """Sizes small enough that a short history meets every limit."""
    limit = chance.choice([6000, 1 << 20])
    return {
        "journal:CHECKPOINT_EVERY": chance.choice([4, 16, 1024]),
        "journal:_TURN_PAUSE_S": 0.02,
        "journal:COMMIT_LIMIT_BYTES": limit,
        "ledger:FLUSH_TRIALS": chance.choice([3, 10, 4096]),
        "ledger:FLUSH_ROWS": chance.choice([20, 65536]),
        "ledger:ROWS_CHECK": 2,
        "ledger:TIDY_PARTS": chance.choice([2, 64]),
        "buffer:JOURNAL_ROWS": chance.choice([10, 256]),
        "buffer:PART_ROWS": chance.choice([8, 1 << 20]),
        "maintenance:_TIER": chance.choice([2, 16]),
        "maintenance:PART_ROWS": dict.fromkeys(
            ("trials", "metrics", "telemetry", "status", "artifacts"), chance.choice([8, 1 << 20])
        ),
        "maintenance:SESSION_MEMORY": chance.choice([timedelta(minutes=15), GRACE]),
        "journal:ROUND_EVERY": chance.choice([5, 256]),
    }


def run_seed(seed: int, show_traceback: bool = False) -> Ending:
    """Play one history and judge it."""
    scheduler = Scheduler(seed)
    chance = scheduler.chance
    local = chance.random() < 0.5
    place = Place(scheduler, local, Weather.drawn(chance, local))
    history = History(scheduler)
    seams = Seams(scheduler, Process("outside", random.Random(seed), 0.0))
    world = World(seed, scheduler, place, history, seams)
    problem = check = None
    with ExitStack() as stack:
        stack.enter_context(installed(seams, settings(chance), chance.random() < 0.7))
        stack.enter_context(recorded(history))
        try:
            world.populate()
            scheduler.run()
            stormy = place.weather.loses_heartbeats
            place.weather = place.weather.calm()
            finish(world, stormy)
        except Exception as failure:
            error = told_by_a_check(failure, world)
            problem = f"{type(error).__name__}: {error}"
            check = error.check if isinstance(error, BrokenError) else None
            if show_traceback:
                traceback.print_exc()
    counts = Counter(history.counts) + Counter(
        requests=place.requests,
        forks_averted=place.forks,
        commits_deleted=place.truncated,
        seeds=1,
        commits=sum("journal/" in k for k in place.ever),
    )
    return Ending(seed, problem, check, digest(world), counts, place.trace)


def told_by_a_check(failure: Exception, world: World) -> Exception:
    """What the checks say of a history that ended with an error of the code under test; else that error."""
    if not isinstance(failure, BrokenError):
        try:
            Audit(world, stormy=True).run()
        except BrokenError as found:
            return found
        except Exception:
            pass  # a history that was cut off cannot be checked to its end
    return failure


def finish(world: World, stormy: bool) -> None:
    """On a fine day a new process finds everything, ends what is left, and tidies up."""
    states: list[dict[str, Any]] = []
    program = Program(world, Process("auditor", random.Random(1), 0.0))

    def look(experiment: Experiment) -> None:
        ledger = experiment._ledger
        with ledger.journal.view() as state:
            states.append(
                {
                    "seq": state.seq,
                    "trials": {n: facts_of(record) for n, record in state.trials.items()},
                    "documents": dict(state.documents),
                    "counts": Counter({str(s): n for s, n in state.counts.items() if n}),
                    "parts": {part.id: part.table for part in state.manifest.parts.values()},
                    "superseded": {p: set(n) for p, n in state.manifest.superseded.items() if n},
                    "sessions": {s: list(seen) for s, seen in state.sessions.items()},
                    "logs": {t: (log.start, len(log.rows)) for t, log in state.manifest.rows.items()},
                }
            )
        snapshot = ledger.snapshot()
        rows = read_snapshot(world, snapshot, program.process, whole=True)
        world.history.seen.append(Seen("rows", "auditor", snapshot.seq, snapshot.seq, rows))

    def audit() -> None:
        experiment = program.open()
        look(experiment)
        experiment.compact(grace=GRACE)
        actor = Actor(program, experiment, 0)
        world.scheduler.sleep(4000.0)  # past every lease
        actor.do_lost()
        while (trial := experiment.reserve_trial()) is not None:
            trial.success(loss=world.mark())
        experiment.flush()
        session = program.store._session
        session.options = session.options.model_copy(update={"maintenance": False})
        session.chores.rest()
        look(experiment)
        program.store.close()

    first = Audit(world, stormy)
    if world.history.wrong or world.place.broken:
        first.run()
    world.scheduler.spawn(program.process, audit)
    world.scheduler.run()
    last = Audit(world, stormy)
    last.run()
    last.check_ended()
    last.same_state(states[-1])


def facts_of(record: Any) -> dict[str, Any]:
    return {
        "params": record.params,
        "status": str(record.status),
        "attempt": record.attempt,
        "worker": record.worker,
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "metrics": record.metrics,
        "attributes": record.attributes or {},
        "attempts": record.attempts,
        "seq": record.seq,
    }
