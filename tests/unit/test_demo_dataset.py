"""The demo's table is found in a wheel and in a checkout, and is what was shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialstore.demo import dataset
from trialstore.model.errors import DamagedError, NotFoundError


def test_the_table_is_what_its_readme_says() -> None:
    table = dataset.load_flights()
    readme = (dataset.data_folder() / "README.md").read_text(encoding="utf-8")
    assert table.num_rows == dataset.FLIGHTS_ROWS
    assert f"| rows | {table.num_rows:,} |" in readme
    assert f"| columns | {table.num_columns} |" in readme
    assert f"{len((dataset.data_folder() / 'flights.parquet').read_bytes()):,} bytes" in readme
    assert dataset._FLIGHTS_SHA256 in readme
    for name in table.column_names:
        assert f"`{name}`" in readme


def test_the_folder_inside_an_installed_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(str(dataset.data_folder())).parts[-1] == "data"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "flights.parquet").write_bytes(b"")
    monkeypatch.setattr(dataset, "files", lambda package: tmp_path)
    assert dataset.data_folder() == tmp_path / "data"


def test_a_changed_table_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray((dataset.data_folder() / "flights.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flights.parquet").write_bytes(data)
    monkeypatch.setattr(dataset, "data_folder", lambda: tmp_path)
    with pytest.raises(DamagedError, match=r"flights\.parquet"):
        dataset.load_flights()


def test_a_missing_table_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_FLIGHTS", "absent.parquet")
    with pytest.raises(NotFoundError, match="wheel"):
        dataset.load_flights()
