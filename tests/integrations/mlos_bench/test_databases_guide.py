"""The page of the guide on databases runs as it stands, and prints what it says."""

from __future__ import annotations

import pytest

from tests.integrations.mlos_bench.written import fill, own_storage
from tests.support.guide import run_page


@pytest.mark.usefixtures("repository")
def test_the_page_runs_and_prints_what_it_says() -> None:
    fill(own_storage("sqlite:///mlos_bench.sqlite"))
    assert run_page("mlos_databases") == 3
