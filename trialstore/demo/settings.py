"""What the demo tunes: the settings of a Parquet writer, as a space and as the writer's own arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from trialstore.demo.dataset import FLIGHTS_ROWS
from trialstore.model.errors import InvalidParamsError
from trialstore.model.space import Categorical, Dimension, Fidelity, Integer, Space

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LEVELS", "WriterSettings", "space"]

LEVELS: dict[str, range] = {
    "none": range(1),
    "snappy": range(1),
    "lz4": range(1),
    "zstd": range(1, 10),
    "gzip": range(1, 7),
    "brotli": range(1, 9),
}
"""The levels of each codec that the demo tries. 0 stands for a codec without levels.

Higher ones exist, but without a dictionary zstd 19 and gzip 9 take ten seconds for the table of flights, so one trial
would be as long as the rest of the demo.
"""


def space() -> dict[str, Dimension]:
    """The space of the writer's settings, for `create_experiment(space=…)`.

    ``level`` must fit ``codec`` (see `LEVELS`), which no dimension by itself can say: `WriterSettings.parse` checks it,
    and `sample` and `propose` only make candidates that fit. ``rows`` is the fidelity: how many of the table's first
    rows are written.
    """
    import pyarrow as pa

    return {
        "codec": Categorical([codec for codec in LEVELS if codec == "none" or pa.Codec.is_available(codec)]),
        "level": Integer(0, 9),
        "dictionary": Categorical([True, False]),
        "encoding": Categorical(["plain", "byte_stream_split", "delta", "both"]),
        "row_group_rows": Integer(4_096, 524_288, log=True),
        "page_kib": Integer(4, 256, log=True),
        "sort_by": Categorical(["none", "scheduled_at", "carrier", "dest", "tailnum"]),
        "rows": Fidelity(1_024, FLIGHTS_ROWS, base=4, default=FLIGHTS_ROWS),
    }


@cache
def _space() -> Space:
    return Space(space())


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """One candidate: how a table is laid out in a Parquet file.

    Attributes:
        codec: What compresses the pages.
        level: Its effort, 0 where the codec has none.
        dictionary: Whether columns that `encoding` leaves alone are dictionary-encoded; otherwise they are plain.
        encoding: ``byte_stream_split`` for the floats, ``delta`` for integers and timestamps, ``both``, or ``plain``
            for neither.
        row_group_rows: Most rows in one row group.
        page_kib: Size at which a data page ends, in KiB before compression. pyarrow may end it earlier, at 20,000 rows.
        sort_by: Column that the rows are sorted by first, nulls last, equal ones in their old order; or ``none``.
        rows: How many of the table's first rows are written.
    """

    codec: str
    level: int
    dictionary: bool
    encoding: str
    row_group_rows: int
    page_kib: int
    sort_by: str
    rows: int

    @classmethod
    def parse(cls, params: Mapping[str, object], fidelity: Mapping[str, object] | None, columns: list[str]) -> Self:
        """The settings of a trial, for a table of these columns.

        Raises:
            InvalidParamsError: parameters are missing, unknown or outside the space, the level does not fit the
                codec, or the table lacks the column to sort by.
        """
        values, effort = _space().validate(params, fidelity)
        settings = cls(**values, rows=int((effort or {})["rows"]))
        problems = []
        levels = LEVELS[settings.codec]
        if settings.level not in levels:
            wanted = f"{levels[0]} to {levels[-1]}" if len(levels) > 1 else str(levels[0])
            problems.append(f"'level' must be {wanted} for {settings.codec}, not {settings.level}")
        if settings.sort_by != "none" and settings.sort_by not in columns:
            problems.append(f"'sort_by' names a column that the table does not have: {settings.sort_by!r}")
        if problems:
            raise InvalidParamsError(
                "parameters do not fit together:\n    " + "\n    ".join(problems),
                hint="trialstore.demo.search.sample makes candidates that fit",
            )
        return settings

    def writer_options(self, schema: pa.Schema) -> dict[str, Any]:
        """The arguments of `pyarrow.parquet.write_table` that these settings mean for a table of this schema."""
        encodings = {field.name: encoding for field in schema if (encoding := self._encoding_of(field.type))}
        others = [name for name in schema.names if name not in encodings]
        return {
            "compression": self.codec,
            "compression_level": self.level or None,
            "use_dictionary": others if self.dictionary else False,
            "column_encoding": encodings,
            "row_group_size": self.row_group_rows,
            "data_page_size": self.page_kib * 1024,
        }

    def _encoding_of(self, kind: pa.DataType) -> str | None:
        from pyarrow import types

        if types.is_floating(kind) and self.encoding in ("byte_stream_split", "both"):
            return "BYTE_STREAM_SPLIT"
        if (types.is_integer(kind) or types.is_timestamp(kind)) and self.encoding in ("delta", "both"):
            return "DELTA_BINARY_PACKED"
        return None
