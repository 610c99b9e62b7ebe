"""A forked child of a process that queried works on, and leaves its parent's queries alone."""

from __future__ import annotations

import gc
import multiprocessing
from typing import Any

import pytest

import trialstore as ts
from tests.support.elsewhere import in_a_fork, in_a_fresh_interpreter
from trialstore.model.errors import QueryError

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)

COUNT = "SELECT count(*), sum(params.x)::BIGINT FROM trials"
MANY = "SELECT range AS n FROM range(1000000) ORDER BY hash(range)"


def _store(url: str, trials: int) -> ts.Store:
    store = ts.open(url)
    store.create_experiment("tune", metrics=[ts.Metric("loss")]).register_trials([{"x": n} for n in range(trials)])
    return store


def _drop_in_a_child(folder: str) -> list[Any]:
    store = _store(folder, 3)
    gc.disable()
    dropped = [store, store.sql(COUNT), store.sql(MANY)]
    dropped[2].fetchone()
    in_cycle: list[Any] = [dropped]
    in_cycle.append(in_cycle)
    del store, dropped, in_cycle  # garbage that is collected on one side and on the other
    in_a_fork(lambda: gc.collect() and None)
    gc.collect()
    return ts.open(folder).sql(COUNT).fetchall()


def test_what_a_child_collects_of_its_parents_queries_harms_nobody(folder: str) -> None:
    assert in_a_fresh_interpreter(_drop_in_a_child, folder) == [(3, 3)]


def _query_on_both_sides(folder: str) -> None:
    store, other = _store(f"{folder}/one", 3), _store(f"{folder}/other", 5)
    store.attach(other, "other")
    attached = "SELECT (SELECT count(*) FROM trials), (SELECT count(*) FROM other.trials)"
    snapshot = store.snapshot()
    snapshot.attach(other.snapshot(), "theirs")
    snapshot.sql("SELECT 1 FROM theirs.trials")
    unread, begun = snapshot.sql(COUNT), snapshot.sql(MANY)
    first = begun.fetchmany(3)

    def child() -> list[Any]:
        with pytest.raises(QueryError, match="run the query again"):
            begun.fetchone()
        assert snapshot.sql("SELECT count(*) FROM theirs.trials").fetchall() == [(5,)]
        return [unread.fetchall(), store.sql(attached).fetchall(), begun.arrow().num_rows]

    assert in_a_fork(child) == [[(3, 3)], [(3, 5)], 1_000_000]
    assert [unread.fetchall(), store.sql(attached).fetchall()] == [[(3, 3)], [(3, 5)]]
    assert len({*first, *begun.fetchmany(1_000_000)}) == 1_000_000


def test_a_child_queries_what_its_parent_opened(folder: str) -> None:
    in_a_fresh_interpreter(_query_on_both_sides, folder)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("forked") / "store")
