"""The workload writes what the parameters say, reads the same back, and refuses what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trialstore.demo.dataset import load_flights
from trialstore.demo.settings import LEVELS, WriterSettings, space
from trialstore.demo.workload import Measurement, evaluate, write_file
from trialstore.model.errors import DamagedError, InvalidParamsError, UsageError

_PLAIN: dict[str, Any] = {
    "codec": "none",
    "level": 0,
    "dictionary": False,
    "encoding": "plain",
    "row_group_rows": 524_288,
    "page_kib": 64,
    "sort_by": "none",
}


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return load_flights().slice(150_000, 20_000)


def _written(table: pa.Table, folder: Path, **changes: Any) -> pq.ParquetFile:
    path = folder / "written.parquet"
    assert write_file(table, _PLAIN | changes, str(path)) == path.stat().st_size
    return pq.ParquetFile(path)


def _column(file: pq.ParquetFile, name: str) -> Any:
    return file.metadata.row_group(0).column(file.schema_arrow.names.index(name))


@pytest.mark.parametrize("codec", [codec for codec in LEVELS if codec == "none" or pa.Codec.is_available(codec)])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("encoding", ["plain", "byte_stream_split", "delta", "both"])
def test_what_is_written_reads_back_equal(
    flights: pa.Table, tmp_path: Path, codec: str, dictionary: bool, encoding: str
) -> None:
    table = flights.slice(0, 2_000)
    for level in (LEVELS[codec][0], LEVELS[codec][-1]):
        file = _written(table, tmp_path, codec=codec, level=level, dictionary=dictionary, encoding=encoding)
        assert file.read().equals(table)
        assert _column(file, "dest").compression == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())


def test_every_codec_of_this_installation_is_in_the_space() -> None:
    codecs = space()["codec"].choices  # type: ignore[attr-defined]
    assert {"none", "snappy", "zstd", "gzip"} <= set(codecs) <= set(LEVELS)


@pytest.mark.parametrize(
    ("dictionary", "encoding", "floats", "integers", "text"),
    [
        (True, "plain", "RLE_DICTIONARY", "RLE_DICTIONARY", "RLE_DICTIONARY"),
        (True, "byte_stream_split", "BYTE_STREAM_SPLIT", "RLE_DICTIONARY", "RLE_DICTIONARY"),
        (True, "delta", "RLE_DICTIONARY", "DELTA_BINARY_PACKED", "RLE_DICTIONARY"),
        (True, "both", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "RLE_DICTIONARY"),
        (False, "plain", "PLAIN", "PLAIN", "PLAIN"),
        (False, "byte_stream_split", "BYTE_STREAM_SPLIT", "PLAIN", "PLAIN"),
        (False, "delta", "PLAIN", "DELTA_BINARY_PACKED", "PLAIN"),
        (False, "both", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "PLAIN"),
    ],
)
def test_each_kind_of_column_gets_its_encoding(
    flights: pa.Table, tmp_path: Path, dictionary: bool, encoding: str, floats: str, integers: str, text: str
) -> None:
    file = _written(flights.slice(0, 500), tmp_path, dictionary=dictionary, encoding=encoding)
    wanted = {"wind_speed": floats, "dep_delay": integers, "scheduled_at": integers, "dest": text}
    for name, expected in wanted.items():
        found = set(_column(file, name).encodings) - {"RLE"}
        assert expected in found
        assert found <= {expected, "PLAIN"} if expected == "RLE_DICTIONARY" else found == {expected}


def test_a_table_of_one_kind_of_column_is_written_too(tmp_path: Path) -> None:
    table = pa.table({"x": [1.5, None, -0.0], "y": [1.0, 2.0, 3.0]})
    assert _written(table, tmp_path, dictionary=True, encoding="both").read().equals(table)


def test_level_row_groups_and_pages_take_effect(flights: pa.Table, tmp_path: Path) -> None:
    def size(**changes: Any) -> int:
        return write_file(flights, _PLAIN | changes, str(tmp_path / "x.parquet"))

    assert size(codec="zstd", level=9) < size(codec="zstd", level=1) < size()
    assert size(page_kib=4) > size(page_kib=256)
    assert _written(flights, tmp_path, row_group_rows=4_096).metadata.num_row_groups == 5
    assert _written(flights, tmp_path, row_group_rows=20_000).metadata.num_row_groups == 1


@pytest.mark.parametrize("column", [c for c in space()["sort_by"].choices if c != "none"])  # type: ignore[attr-defined]
def test_sorting_keeps_every_row_and_the_order_of_equal_ones(flights: pa.Table, tmp_path: Path, column: str) -> None:
    found = _written(flights, tmp_path, sort_by=column).read()
    keys = flights[column].to_pylist()
    known = [row for row, key in enumerate(keys) if key is not None]
    order = sorted(known, key=keys.__getitem__) + [row for row, key in enumerate(keys) if key is None]
    assert found.equals(flights.take(order))


def test_fidelity_limits_the_rows(flights: pa.Table, tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    write_file(flights, _PLAIN, path, {"rows": 1_500})
    assert pq.read_table(path).equals(flights.slice(0, 1_500))
    assert evaluate(flights, _PLAIN, {"rows": 1_500}, repeats=1).bytes == Path(path).stat().st_size
    write_file(flights, _PLAIN, path, {"rows": 200_000})
    assert pq.read_table(path).equals(flights)
    assert WriterSettings.parse(_PLAIN, {"rows": 2048.0}, flights.column_names).rows == 2048


def test_the_measurement_is_the_best_round_and_the_files_size(flights: pa.Table, tmp_path: Path) -> None:
    rounds: list[tuple[int, float, float]] = []
    params = _PLAIN | {"codec": "snappy", "sort_by": "dest"}
    found = evaluate(flights, params, repeats=4, budget_s=60, progress=lambda *round_: rounds.append(round_))
    assert [number for number, _, _ in rounds] == [0, 1, 2, 3]
    size = write_file(flights, params, str(tmp_path / "x.parquet"))
    assert found == Measurement(size, min(w for _, w, _ in rounds), min(r for _, _, r in rounds))
    assert min(found.write_seconds, found.read_seconds) > 0


def test_a_spent_budget_ends_after_the_first_round(flights: pa.Table) -> None:
    rounds: list[int] = []
    evaluate(flights, _PLAIN, repeats=9, budget_s=0, progress=lambda number, _w, _r: rounds.append(number))
    assert rounds == [0]


def test_the_folder_is_gone_after_success_and_failure(flights: pa.Table, tmp_path: Path) -> None:
    seen: list[str] = []
    evaluate(
        flights, _PLAIN, scratch=str(tmp_path), progress=lambda *_: seen.extend(map(str, tmp_path.rglob("*.parquet")))
    )
    assert seen
    assert list(tmp_path.iterdir()) == []

    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(flights, _PLAIN, scratch=str(tmp_path), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_lost_rows_or_columns_is_no_measurement(flights: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, path, **options: honest(table.slice(1), path))
    with pytest.raises(DamagedError, match=r"rows=19999 .*written_rows=20000"):
        evaluate(flights, _PLAIN)
    monkeypatch.setattr(pq, "write_table", lambda table, path, **options: honest(table.drop_columns("dest"), path))
    with pytest.raises(DamagedError):
        evaluate(flights, _PLAIN)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"codec": "lzo"}, "'codec' must be one of"),
        ({"level": 3}, "'level' must be 0 for none, not 3"),
        ({"codec": "zstd"}, "'level' must be 1 to 9 for zstd, not 0"),
        ({"codec": "gzip", "level": 7}, "'level' must be 1 to 6 for gzip, not 7"),
        ({"level": 1.0}, "'level' must be an integer"),
        ({"dictionary": 1}, "'dictionary' must be one of"),
        ({"encoding": "rle"}, "'encoding' must be one of"),
        ({"row_group_rows": 0}, "'row_group_rows' must be 4096 to 524288, not 0"),
        ({"page_kib": "64"}, "'page_kib' must be an integer"),
        ({"sort_by": "air_time"}, "'sort_by' must be one of"),
        ({"rows": 0}, "fidelity 'rows' must be"),
        ({"codek": "zstd"}, "did you mean 'codec'?"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    flights: pa.Table, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidParamsError) as error:
        evaluate(flights, _PLAIN | changes, scratch=str(tmp_path))
    assert told in str(error.value)
    with pytest.raises(InvalidParamsError):
        write_file(flights, _PLAIN | changes, str(tmp_path / "x.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_all_problems_stand_in_one_error(flights: pa.Table) -> None:
    with pytest.raises(InvalidParamsError) as missing:
        evaluate(flights, {"codec": "lzo"})
    assert str(missing.value).count("is missing") == 6
    with pytest.raises(InvalidParamsError) as unfit:
        evaluate(flights.drop_columns("tailnum"), _PLAIN | {"codec": "zstd", "sort_by": "tailnum"})
    assert "'level'" in str(unfit.value)
    assert "'sort_by' names a column that the table does not have: 'tailnum'" in str(unfit.value)


def test_nothing_to_measure_is_refused(flights: pa.Table) -> None:
    with pytest.raises(UsageError, match="repeats=0"):
        evaluate(flights, _PLAIN, repeats=0)
    with pytest.raises(UsageError, match="rows=0"):
        evaluate(flights.slice(0, 0), _PLAIN)
