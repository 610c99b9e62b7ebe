"""Columns and fields whose names Polars takes for patterns are the ones that were asked for, alone."""

from __future__ import annotations

import polars as pl
import pytest

from trialstore.tables.fieldnames import column_of, field_of

NAMES = ["ab", "*", "a", "^a.*$", "^$", "^.*$", "^", "$", "^a", "a$", "**", ""]
FRAME = pl.DataFrame({name: [place, None] for place, name in enumerate(NAMES)})
NESTED = FRAME.select(pl.struct(pl.all()).alias("s"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_name_is_taken_to_the_letter(name: str, lazy: bool) -> None:
    alone = pl.DataFrame({name: [NAMES.index(name), None]})
    for frame, expression in ((FRAME, column_of(NAMES, name)), (NESTED, field_of(pl.col("s"), NAMES, name))):
        found = frame.lazy().select(expression).collect() if lazy else frame.select(expression)
        assert found.equals(alone)
        assert found.columns == [name]


def test_a_field_is_one_of_a_null_struct_too() -> None:
    rows = pl.DataFrame({"s": [None, {"*": 1, "b": 2}]}, schema={"s": pl.Struct({"*": pl.Int64, "b": pl.Int64})})
    assert rows.select(field_of(pl.col("s"), ["*", "b"], "*"))["*"].to_list() == [None, 1]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="not in list"):
        column_of(["a"], "*")
    with pytest.raises(ValueError, match="not in list"):
        field_of(pl.col("s"), ["a"], "^a$")
