"""A journal whose beginning is deleted never forks, and nobody takes a hole for its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.faulty import FaultyBlobs
from trialstore.blobs.memory import MemoryFileSystem
from trialstore.journal import retention as retention_module
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.commit import encode_commit
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.log import Log
from trialstore.journal.machine import Machine
from trialstore.journal.retention import Aged, outgrown
from trialstore.journal.session import SessionId
from trialstore.journal.stored import StoredJournal
from trialstore.model.errors import DamagedError, NotFoundError, OutcomeUnknownError
from trialstore.model.times import now_text

R = 1000.0


class Clock:
    """The clock of this machine, and with it the age of every blob that was written before it moved."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.start = datetime.now(UTC)

    def __call__(self) -> tuple[float, float]:
        return self.now_s, 0.0

    def backend(self) -> datetime:
        return datetime.now(UTC)

    def pass_by(self, blobs: FaultyBlobs, seconds: float) -> None:
        self.now_s += seconds
        base = f"/{blobs._name}/"
        for path, file in MemoryFileSystem.store.items():
            if path.startswith(base):
                file.modified -= timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retention_module, "clock", clock)
    return clock


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest) -> FaultyBlobs:
    made = FaultyBlobs()
    made.local = request.param == "folder"
    return made


def journal_on(blobs: FaultyBlobs) -> Journal[ExperimentState]:
    return Journal(Log(blobs, "a"), Checkpoints(blobs, "checkpoints/a", R), ExperimentState, SessionId())


def note(word: str) -> Draft:
    return Draft("rows", {"table": "metrics", "rows": [[0, 0, word, None, now_text(), 1]]})


def words(journal: Journal[ExperimentState]) -> list[str]:
    with journal.view() as state:
        return [row[2] for row in state.manifest.rows["metrics"].rows]


def stored(blobs: FaultyBlobs) -> StoredJournal[ExperimentState]:
    return StoredJournal(blobs, "a", ExperimentState, R)


def truncate(blobs: FaultyBlobs, clock: Clock) -> int:
    """Delete what may be deleted; how many commits went."""
    old, _ = stored(blobs).expired(clock.backend())
    blobs.delete([info.key for info in old])
    return len(old)


def move_on(blobs: FaultyBlobs, clock: Clock, rounds: int = 3) -> None:
    """Others commit and write checkpoints, time passes, and the journal is truncated."""
    other = journal_on(blobs.process())
    for number in range(rounds):
        other.execute(note(f"other {number}"))
        other.checkpoint()
        clock.pass_by(blobs, R / 2 if number + 1 < rounds else R * 1.2)
    other.execute(note("last"))
    assert truncate(blobs, clock) > 0


def test_a_writer_that_slept_past_the_retention_does_not_fork(blobs: FaultyBlobs, clock: Clock) -> None:
    sleeper = journal_on(blobs)
    sleeper.execute(note("first"))
    move_on(blobs, clock)
    assert blobs.info(Log(blobs, "a").blob(1)) is None  # the number the sleeper believes to be free, and is free
    sleeper.execute(note("awake"))
    assert words(journal_on(blobs.process()))[-2:] == ["last", "awake"]
    assert words(sleeper) == words(journal_on(blobs.process()))


@pytest.mark.parametrize("step", ["checkpoints", "commits"])
def test_a_writer_suspended_in_its_first_look_does_not_fork(blobs: FaultyBlobs, clock: Clock, step: str) -> None:
    """It had read the checkpoint, or the first commits too, and slept before it looked at what comes next."""
    journal_on(blobs.process()).execute(note("first"))
    read_many, slept = blobs.read_many, []

    def slow_read(keys: Sequence[str]) -> list[bytes | None]:
        found = read_many(keys) if step == "commits" else []
        if not slept:
            slept.append(keys)
            move_on(blobs, clock)
        return found or read_many(keys)

    blobs.read_many = slow_read  # type: ignore[method-assign]
    sleeper = journal_on(blobs)
    sleeper.execute(note("awake"))
    assert words(journal_on(blobs.process()))[-2:] == ["last", "awake"]
    assert words(sleeper) == words(journal_on(blobs.process()))


@pytest.mark.parametrize("before_put", [True, False], ids=["before the put", "after the put"])
def test_a_writer_suspended_around_its_put_does_not_fork(blobs: FaultyBlobs, clock: Clock, before_put: bool) -> None:
    """It looked, found the number free, and slept; or its put was on its way while the world moved on."""
    sleeper = journal_on(blobs)
    sleeper.execute(note("first"))
    create, slept = blobs.create, []

    def slow_create(key: str, data: bytes) -> bool:
        if key.startswith("journal/") and not slept:
            slept.append(key)
            move_on(blobs, clock)
        return create(key, data)

    def slow_answer(key: str, data: bytes) -> bool:
        created = create(key, data)
        if key.startswith("journal/") and not slept:
            slept.append(key)
            move_on(blobs, clock, rounds=2)
        return created

    blobs.create = slow_create if before_put else slow_answer  # type: ignore[method-assign]
    if before_put:
        sleeper.execute(note("awake"))
        blob = blobs.info(slept[0])
        assert blob is None, "the commit that does not count is still there"
    else:
        # It was in the history, and the history was truncated past it: the outcome cannot be told, the commit counts.
        try:
            sleeper.execute(note("awake"))
        except OutcomeUnknownError:
            pass
    seen = words(journal_on(blobs.process()))
    assert seen.count("awake") == 1
    assert words(sleeper) == seen


def test_a_command_that_counted_behind_the_checkpoint_and_came_again_after_it_is_no_refusal(
    blobs: FaultyBlobs, clock: Clock
) -> None:
    """Its writer slept meanwhile: it may not be told that the command changed nothing."""
    sleeper = journal_on(blobs)
    sleeper.execute(note("first"))
    create = blobs.create

    def slow_answer(key: str, data: bytes) -> bool:
        create(key, data)
        blobs.create = create  # type: ignore[method-assign]
        other = journal_on(blobs.process())
        other.execute(note("other"))
        other.checkpoint()
        with other.view() as state:
            again, _ = encode_commit(state.seq + 1, state.crc32, data[data.index(b"\n") + 1 :])
            assert create(Log(blobs, "a").blob(state.seq + 1), again)
        clock.pass_by(blobs, R)
        raise OutcomeUnknownError("no answer")

    blobs.create = slow_answer  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknownError, match="too late to learn"):
        sleeper.execute(note("mine"))
    assert words(sleeper) == ["first", "mine", "other"]
    sleeper.execute(note("next"))
    assert words(journal_on(blobs.process())) == ["first", "mine", "other", "next"]


def test_a_put_that_took_long_and_stands_is_believed(blobs: FaultyBlobs, clock: Clock) -> None:
    writer = journal_on(blobs)
    writer.execute(note("first"))
    create = blobs.create

    def slow_answer(key: str, data: bytes) -> bool:
        created = create(key, data)
        clock.pass_by(blobs, R)
        blobs.create = create  # type: ignore[method-assign]
        other = journal_on(blobs.process())
        other.execute(note("other"))
        other.checkpoint()
        return created

    blobs.create = slow_answer  # type: ignore[method-assign]
    (outcome,) = writer.execute(note("mine"))
    assert outcome.reason is None
    assert words(writer) == ["first", "mine", "other"]


def test_a_reader_that_slept_past_the_retention_sees_what_came_since(blobs: FaultyBlobs, clock: Clock) -> None:
    reader = journal_on(blobs.process())
    journal_on(blobs).execute(note("first"))
    assert words(reader) == ["first"]
    move_on(blobs, clock)
    assert words(reader) == ["first", "other 0", "other 1", "other 2", "last"]


def test_a_reader_suspended_between_two_reads_folds_nothing_that_it_cannot_trust(
    blobs: FaultyBlobs, clock: Clock
) -> None:
    reading = blobs.process()
    reader = journal_on(reading)
    journal_on(blobs).execute(note("first"))
    assert words(reader) == ["first"]
    read_many, slept = reading.read_many, []

    def slow_read(keys: list[str]) -> list[bytes | None]:
        if not slept:
            slept.append(keys)
            move_on(blobs, clock)
            blobs.create(Log(blobs, "a").blob(1), fork)  # another sleeper's, who has not come to removing it
        return read_many(keys)

    with reader.view() as state:
        fork, _ = encode_commit(1, state.crc32, b"")
    reading.read_many = slow_read  # type: ignore[method-assign]
    assert words(reader)[-1] == "last"
    assert words(reader) == words(journal_on(blobs.process()))


@pytest.mark.parametrize("mature", [0, 1], ids=["none old enough", "one old enough"])
def test_nothing_is_deleted_before_two_readable_checkpoints_are_old_enough(
    blobs: FaultyBlobs, clock: Clock, mature: int
) -> None:
    journal = journal_on(blobs)
    for number in range(4):
        journal.execute(note(str(number)))
        journal.checkpoint()
        clock.pass_by(blobs, R if number < mature else 1)
    assert truncate(blobs, clock) == 0


def test_a_damaged_checkpoint_does_not_count_for_truncation(blobs: FaultyBlobs, clock: Clock) -> None:
    journal = journal_on(blobs)
    for number in range(3):
        journal.execute(note(str(number)))
        key = journal.checkpoint()
    clock.pass_by(blobs, R)
    MemoryFileSystem.store[f"/{blobs._name}/{key}"].write(b"damage")
    MemoryFileSystem.store[f"/{blobs._name}/{key}"].modified -= timedelta(seconds=2 * R)
    old, start = stored(blobs).expired(clock.backend())
    assert start == 0
    assert [Log.seq_of(info.key) for info in old] == []
    assert words(journal_on(blobs.process())) == ["0", "1", "2"]


def test_history_before_the_truncation_is_refused_and_after_it_is_there(blobs: FaultyBlobs, clock: Clock) -> None:
    journal = journal_on(blobs)
    journal.execute(note("first"))
    move_on(blobs, clock)
    with journal.view() as state:
        last = state.seq
    assert journal.at(last).seq == last
    with pytest.raises(NotFoundError):
        journal.at(0)
    moment = now_text()
    assert journal.at(moment).seq == last
    with pytest.raises(NotFoundError):
        journal.at("0")


def test_a_truncated_journal_without_a_readable_checkpoint_is_an_error_and_no_empty_journal(
    blobs: FaultyBlobs, clock: Clock
) -> None:
    journal_on(blobs).execute(note("first"))
    move_on(blobs, clock)
    blobs.delete([info.key for info in blobs.list("checkpoints/")])
    acts: list[Callable[[Journal[ExperimentState]], object]] = [words, lambda j: j.execute(note("fork"))]
    for act in acts:
        with pytest.raises(DamagedError, match=r"ends too early|commit is missing"):
            act(journal_on(blobs.process()))


def test_a_journal_that_ends_before_a_damaged_checkpoint_is_an_error_and_no_shorter_journal(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    keys = []
    for number in range(3):
        journal.execute(note(str(number)))
        keys.append(journal.checkpoint())
    blobs.write(keys[-1], b"damage")
    assert words(journal_on(blobs.process())) == ["0", "1", "2"]
    blobs.delete([Log(blobs, "a").blob(2)])
    acts: list[Callable[[Journal[ExperimentState]], object]] = [words, lambda j: j.execute(note("fork"))]
    for act in acts:
        with pytest.raises(DamagedError, match="ends too early"):
            act(journal_on(blobs.process()))


def test_a_missing_commit_is_named_and_not_taken_for_the_end(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    for number in range(9):
        journal.execute(note(str(number)))
    for seq in (0, 4, 7):
        lost = Log(blobs, "a").blob(seq)
        data = blobs.read(lost)
        blobs.delete([lost])
        acts: list[Callable[[Journal[ExperimentState]], object]] = [words, lambda j: j.execute(note("fork"))]
        for act in acts:
            with pytest.raises(DamagedError) as error:
                act(journal_on(blobs.process()))
            assert lost in str(error.value)
        blobs.create(lost, data)
    assert len(words(journal_on(blobs.process()))) == 9


def test_checkpoints_grow_old_however_many_are_written() -> None:
    """Whatever the pace, there is soon a checkpoint old enough, and never are there many."""
    for pace in (1.0, 7.0, 60.0, 400.0, 2500.0):
        ages: list[Aged] = []
        for number in itertools.count():
            ages = [Aged(c.key, c.seq, c.age_s + pace) for c in ages] + [Aged(str(number), number, 0.0)]
            gone = set(outgrown(ages, R))
            ages = [c for c in ages if c.key not in gone]
            assert len(ages) <= 14
            if number * pace > 4 * R:
                assert sum(c.age_s >= R for c in ages) == 2
                assert min(c.age_s for c in ages if c.age_s >= R) <= 1.5 * R + 2 * pace
            if number * pace > 8 * R:
                break


def test_the_chain_can_be_followed_from_the_oldest_checkpoint_that_is_kept(blobs: FaultyBlobs, clock: Clock) -> None:
    journal_on(blobs).execute(note("first"))
    move_on(blobs, clock)
    log = Log(blobs, "a")
    first = min(Log.seq_of(info.key) for info in log.commits())
    machine: Machine = Checkpoints(blobs, "checkpoints/a", R).load(ExperimentState, first)
    assert machine.seq == first
