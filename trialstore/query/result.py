"""What a query gives: Polars, Arrow, pandas or plain rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from trialstore.model.errors import MissingExtraError, QueryError
from trialstore.query.inherited import watch
from trialstore.render.values import printable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Result"]

_BATCH_ROWS = 1 << 16
_SHOWN_ROWS = 20
_INTEGERS = frozenset({"HUGEINT", "UHUGEINT"})


class Result:
    """The rows of a query.

    The query has started and its first rows are there; the others are fetched when they are asked for. Every method
    but `fetchone` and `fetchmany` gives all rows, however often and in whatever order it is called.

    Args:
        cursor: Makes a connection of its own to the database, which is kept alive by it.
        query: DuckDB SQL.
        parameters: Values for ``?`` or ``$name`` in it.
    """

    def __init__(
        self,
        cursor: Callable[[], duckdb.DuckDBPyConnection],
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None,
    ) -> None:
        self._cursor = cursor
        self._query = query
        self._parameters = parameters
        self._table: pa.Table | None = None
        self._position: Iterator[tuple[Any, ...]] | None = None
        self._integers: frozenset[str] = frozenset()
        self._schema = pa.schema([])
        self._started: Iterator[pa.RecordBatch] | None = self._start()
        watch(self)

    def leave_to_parent(self) -> object:
        """Forget, in a forked child, what the parent still reads; returns it."""
        inherited = self._started, self._position
        self._started = None  # the child runs the query again
        if self._position is not None and self._table is None:
            self._position = _refuse_to_go_on(self._query)
        return inherited

    def _start(self) -> Iterator[pa.RecordBatch]:
        """Run the query; the first batch is fetched, so that errors show now."""
        relation = self._cursor().sql(self._query, params=self._parameters)
        if relation is None:
            self._table = self._schema.empty_table()
            return iter(())
        names = relation.columns
        kinds = [str(kind) for kind in relation.types]
        self._integers = frozenset(n for n, kind in zip(names, kinds, strict=True) if kind in _INTEGERS)
        reader = relation.to_arrow_reader(_BATCH_ROWS)
        self._schema = reader.schema
        if any(statement.type != duckdb.StatementType.SELECT for statement in duckdb.extract_statements(self._query)):
            # It may change something, so it must not run again for those who read its rows twice.
            self._table = reader.read_all()
            return iter(())
        first = next(reader, None)
        return _chain(first, reader)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._schema.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow record batches, in bounded memory.

        Raises:
            QueryError: the query failed on the way.
        """
        if self._table is not None:
            yield from self._table.to_batches()
            return
        started, self._started = self._started, None
        try:
            # The snapshot never changes, so running the query again gives the same rows.
            yield from self._start() if started is None else started
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise QueryError(str(error), query=self._query) from None

    def arrow(self) -> pa.Table:
        """All rows as an Arrow table."""
        if self._table is None:
            self._table = pa.Table.from_batches(list(self.batches()), self._schema)
        return self._table

    def pl(self) -> pl.DataFrame:
        """All rows as a Polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def df(self) -> pd.DataFrame:
        """All rows as a pandas frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 - Arrow's own error does not say how to install it
        except ImportError:
            raise MissingExtraError(
                "pandas is not installed", hint='pip install "trialstore[pandas]", or use .pl()'
            ) from None
        return self.arrow().to_pandas()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as tuples."""
        self.arrow()
        return list(self)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, None after the last one."""
        if self._position is None:
            self._position = iter(self)
        return next(self._position, None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next `size` rows, fewer at the end."""
        if self._position is None:
            self._position = iter(self)
        return list(islice(self._position, size))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.batches():
            columns = [self._values(name, column) for name, column in zip(self.columns, batch.columns, strict=True)]
            yield from zip(*columns, strict=True)

    def _values(self, name: str, column: pa.Array) -> list[Any]:
        values = column.to_pylist()
        if name in self._integers:
            return [int(value) if isinstance(value, Decimal) else value for value in values]
        return values  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        import polars as pl

        with pl.Config(tbl_rows=_SHOWN_ROWS, tbl_cols=-1, fmt_str_lengths=60):
            return printable(repr(self.pl()), lines=True)


def _refuse_to_go_on(query: str) -> Iterator[tuple[Any, ...]]:
    raise QueryError(
        "rows that a process began to fetch cannot be fetched on in its forked child",
        hint="run the query again in the child",
        query=query,
    )
    yield ()


def _chain(first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
        yield from rest
