"""A query's rows as JSON, CSV or Parquet, streamed, to standard output or a file."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from trialstore.cli.console import complaints, progress
from trialstore.cli.exact import dumps, to_json
from trialstore.model.errors import UsageError
from trialstore.render.table import plain_text

if TYPE_CHECKING:
    from trialstore.query.result import Result

__all__ = ["export"]


def export(result: Result, format_: str, out: Path | None, limit: int | None) -> None:
    """Write rows to a file, which appears whole or not at all, or to standard output.

    Args:
        result: The rows.
        format_: ``"json"``, ``"csv"`` or ``"parquet"``; a table is for the screen and is refused.
        out: The file; None for standard output.
        limit: Most rows to write; None for all.

    Raises:
        UsageError: the file cannot be written, or the format cannot hold a column.
    """
    if format_ == "table":
        raise UsageError("a table is for the screen", hint="choose --format json, csv or parquet for a file")
    columns = _distinct(result.columns)
    if out is None:
        _WRITERS[format_](_counted(result, limit), columns, sys.stdout)
        return
    rows = [0]
    with _new_file(out, binary=format_ == "parquet") as file, progress() as bar:
        task = bar.add_task("writing", total=None)

        def tell(batch_rows: int) -> None:
            rows[0] += batch_rows
            bar.update(task, description=f"writing: {rows[0]:,} rows")

        batches = _counted(result, limit, tell)
        if format_ == "parquet":
            _write_parquet(batches, columns, result, file)
        else:
            _WRITERS[format_](batches, columns, file)
    complaints().print(plain_text(f"wrote {rows[0]:,} rows to {out}"))


def _distinct(names: list[str]) -> list[str]:
    """Names of which none stands for two columns: the second ``a`` becomes ``a_2``."""
    taken: set[str] = set(names)
    given: list[str] = []
    for name in names:
        number, new = 2, name
        while new in given or (new != name and new in taken):
            new, number = f"{name}_{number}", number + 1
        given.append(new)
    return given


def _counted(result: Result, limit: int | None, tell: Callable[[int], None] | None = None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in result.batches():
        wanted = batch if left is None else batch.slice(0, left)
        if tell is not None:
            tell(wanted.num_rows)
        yield wanted
        if left is not None:
            left -= wanted.num_rows
            if left <= 0:
                return


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write_json(batches: Iterable[pa.RecordBatch], columns: list[str], file: IO[str]) -> None:
    separator = "[\n"
    for row in _rows(batches):
        file.write(separator + dumps(dict(zip(columns, row, strict=True)), indent=None))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_csv(batches: Iterable[pa.RecordBatch], columns: list[str], file: IO[str]) -> None:
    file.write(",".join(map(_quoted, columns)) + "\n")
    for row in _rows(batches):
        file.write(",".join(map(_cell, row)) + "\n")


def _cell(value: object) -> str:
    """A value in CSV: null is empty and an empty text is ``""``; lists and structs are JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    form = to_json(value)
    return _quoted(form) if isinstance(form, str) else _quoted(dumps(form, indent=None))


def _quoted(text: str) -> str:
    plain = text and not any(c in text for c in ',"\r\n') and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'


def _write_parquet(batches: Iterable[pa.RecordBatch], columns: list[str], result: Result, file: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    writer = None
    try:
        for batch in batches:
            named = batch.rename_columns(columns)
            writer = writer or pq.ParquetWriter(file, named.schema, compression="zstd")
            writer.write_batch(named)
        if writer is None:
            empty = result.arrow().rename_columns(columns)
            writer = pq.ParquetWriter(file, empty.schema, compression="zstd")
        writer.close()
    except pa.ArrowNotImplementedError as error:
        hint = "cast the column, for example epoch(ended_at - started_at) for an interval"
        raise UsageError(f"parquet cannot hold a column: {error}", hint=hint) from None


_WRITERS: dict[str, Callable[[Iterable[pa.RecordBatch], list[str], IO[str]], None]] = {
    "json": _write_json,
    "csv": _write_csv,
}


@contextmanager
def _new_file(out: Path, *, binary: bool) -> Iterator[IO[Any]]:
    """A file under another name, which takes the place of `out` when the block ends well."""
    unfinished = None
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{out.name[:100]}.", dir=out.parent)
        text = {} if binary else {"encoding": "utf-8", "newline": ""}
        with os.fdopen(descriptor, "wb" if binary else "w", **text) as file:  # type: ignore[call-overload]
            yield file
        os.chmod(unfinished, 0o666 & ~_umask())
        os.replace(unfinished, out)
        unfinished = None
    except OSError as error:
        raise UsageError(
            f"cannot write the file: {error.strerror or error}", hint="choose another with -o", file=str(out)
        ) from None
    finally:
        if unfinished is not None:
            os.unlink(unfinished)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
