"""Stored spellings of times as a column of microseconds, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.tables.schema import TIME

__all__ = ["time_array", "time_text", "time_texts"]

_ZONE, _NOTHING = pa.scalar("Z"), pa.scalar("")


def time_array(texts: Sequence[str | None]) -> pa.Array:
    """The column of these spellings."""
    return pa.array(texts, pa.string()).cast(TIME)


def time_texts(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The spellings of a column, None where it is null."""
    spelled = column.cast(pa.timestamp("us")).cast(pa.string())
    # Scalars of Arrow: of a plain string it asks first whether it is one of pandas, which it imports for that.
    return pc.binary_join_element_wise(pc.replace_substring(spelled, " ", "T"), _ZONE, _NOTHING).to_pylist()  # type: ignore[no-any-return]


def time_text(time: pa.Scalar) -> str:
    """The spelling of one time."""
    (text,) = time_texts(pa.array([time.value], pa.int64()).cast(TIME))
    return str(text)
