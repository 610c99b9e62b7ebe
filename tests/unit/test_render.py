"""What users see of an object, on terminals of several widths and in a notebook."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import trialstore as ts
from tests.support.snapshots import record
from trialstore.model.identity import new_ulid
from trialstore.render.html import html_of
from trialstore.render.page import Column, Grid, Line, Page, Prose
from trialstore.render.terminal import TerminalPage
from trialstore.render.values import printable, shortened
from trialstore.report import Report

AB = (ts.Metric("a"), ts.Metric("b", minimize=False))
EVIL = "<img src=x onerror=alert(1)>&lt;[red]x[/red]\x1b[2J\x07\u202eevil\"'"


@pytest.fixture
def exp() -> Iterator[ts.Experiment]:
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment(
            EVIL,
            metrics=[ts.Metric("loss", bounds=(0, math.inf)), ts.Metric("<b>ops</b>", minimize=False)],
            space={"lr": ts.Real(0, 1), "kind": ts.Categorical(["a", "</td><script>alert(1)</script>"])},
            max_trials=9,
            metadata={"team": EVIL},
        )
        for k in range(8):
            params = {"lr": 0.1 * k, "kind": "</td><script>alert(1)</script>"}
            trial = exp.register_trial(params, name=EVIL, reserve=True)
            if k == 3:
                with trial.begin():
                    raise ValueError(EVIL)
                trial.crashed()
                continue
            trial.annotate(**{EVIL: EVIL, "none": None, "nan": math.nan})
            trial.success(loss=math.nan if k == 1 else k + 0.5, **{"<b>ops</b>": k})
        yield exp


def things(exp: ts.Experiment) -> dict[str, Any]:
    store = ts.open(exp._ledger.blobs)
    return {
        "store": store,
        "experiment": exp,
        "trial": exp.trial(1),
        "crashed": exp.trial(3),
        "report": exp.report(3),
        "history": ts.History.of(exp),
        "metric": exp.declared_metrics[1],
    }


NAMES = ["store", "experiment", "trial", "crashed", "report", "history", "metric"]


def printed(thing: Any, width: int, **options: Any) -> str:
    console = Console(width=width, color_system=None, file=io.StringIO())
    console.print(thing, **options)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


class Tags(HTMLParser):
    """Collects the elements and the text of HTML, and holds that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [200, 80, 40, 12])
def test_no_line_is_wider_than_the_terminal_and_nothing_steers_it(exp: ts.Experiment, name: str, width: int) -> None:
    text = printed(things(exp)[name], width)
    assert max(cell_len(line.rstrip()) for line in text.split("\n")) <= max(width, 12)
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\r"}


@pytest.mark.parametrize("name", NAMES)
def test_html_is_closed_and_holds_no_element_of_a_users(exp: ts.Experiment, name: str) -> None:
    html = things(exp)[name]._repr_html_()
    tags = Tags(html)
    assert tags.seen <= {"style", "div", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre"}
    assert tags.attributes <= {"class"}
    assert not set(html) & {"\x1b", "\x07", "\u202e"}


def test_markup_is_shown_as_it_was_written(exp: ts.Experiment) -> None:
    shown = "<img src=x onerror=alert(1)>&lt;[red]x[/red]\\x1b[2J\\x07\\u202eevil\"'"
    assert shown in printed(exp, 400)
    assert shown in Tags(exp._repr_html_()).text
    crashed = exp.trial(3)
    assert f"ValueError: {shown}" in printed(crashed, 400)
    assert f"ValueError: {shown}" in Tags(crashed._repr_html_()).text


def test_an_experiment_shows_its_best_and_its_newest(exp: ts.Experiment) -> None:
    text = printed(exp, 200)
    best = text.partition("Best by loss ↓")[2].partition("Newest others")[0]
    assert re.findall(r"^ +(\d) +SUCCEEDED", best, re.MULTILINE) == ["0", "2", "4", "5", "6"]
    newest = text.partition("Newest others")[2]
    assert re.findall(r"^ +(\d) +(\w+)", newest, re.MULTILINE) == [
        ("7", "SUCCEEDED"),
        ("3", "CRASHED"),
        ("1", "SUCCEEDED"),
    ]
    assert "7 succeeded, 1 crashed  (9 wanted)" in text


def test_nan_null_and_absent_are_told_apart() -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        free = store.create_experiment("free")
        free.register_trial({"a": None, "b": math.nan, "d": "null"})
        free.register_trial({"c": 1})
        rows = [line.split() for line in printed(free, 80).split("\n") if "PENDING" in line]
        assert rows == [["1", "PENDING", "1"], ["0", "PENDING", "null", "nan", "null"]]
        page = printed(free.trial(0), 80)
        assert re.search(r"a +null *\n", page)
        assert re.search(r"b +nan *\n", page)
        assert re.search(r"d +'null' *\n", page)


def test_a_history_shows_its_front_and_its_first_reports(exp: ts.Experiment) -> None:
    text = printed(ts.History.of(exp), 200)
    assert text.startswith("History  8 reports\n7 succeeded, 1 crashed\n")
    front = text.partition("Pareto front of loss ↓, <b>ops</b> ↑")[2].partition("Reports")[0]
    assert re.findall(r"^ +(\d) +SUCCEEDED", front, re.MULTILINE) == ["0", "2", "4", "5", "6", "7"]
    ends = [Report(record(n, metrics={"a": n, "b": n}), experiment="e", metrics=AB) for n in range(12)]
    assert printed(ts.History(ends), 80).count("2 more are not shown") == 2  # of the front, and of the reports
    many = ts.History([*ts.History.of(exp)] * 2)
    assert "6 more are not shown" in printed(many, 200)
    assert "6 more are not shown" in many._repr_html_()
    assert printed(ts.History(), 80).startswith("History  0 reports")
    assert "experiment" not in text
    with ts.open(f"memory://{new_ulid()}") as store:
        for name in ("one", "two"):
            store.create_experiment(name).register_trial({}, reserve=True).success()
        assert re.findall(r"(\w+) +0 +SUCCEEDED", printed(ts.History.of(store), 80)) == ["one", "two"]


def test_a_trial_shows_what_was_measured_and_how_sure_a_value_is() -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment("e", metrics=[ts.Metric("loss")])
        trial = exp.register_trial({"x": 1}, reserve=True)
        with trial.begin(time="wall", memory_unit="MB"), trial.profile("fit"):
            trial.summary["size"] = 3
        made = trial.success(loss=ts.Observation(0.5, sem=0.25, n=4))
        for text in (printed(exp.trial(0), 80), printed(made, 80)):
            assert re.search(r"loss +0.5 +0.25 +4\n", text)
            assert re.search(r"size +3 *\n", text)
            assert re.search(r"trial:fit +wall +[\d.]+ .?s", text)


def test_a_narrow_terminal_is_told_what_it_does_not_see(exp: ts.Experiment) -> None:
    assert "not shown for lack of width: kind" in printed(exp, 48)
    assert "…" in printed(exp.trial(1), 40).split("\n")[1]


def test_long_text_is_cut_and_says_so() -> None:
    assert shortened("a" * 12, 10) == "aaaaaaaaaa… (2 more characters)"
    page = Page("t" * 5_000, blocks=[Line("x", "v" * 5_000), Prose("p" * 50_000), Grid([Column("c", ["z" * 500])])])
    text = Tags(html_of(page)).text
    assert re.findall(r"(\w)… \(([\d,]+) more characters\)", text) == [
        ("t", "3,000"),
        ("v", "3,000"),
        ("p", "30,000"),
        ("z", "300"),
    ]


def test_whole_lines_are_not_cut() -> None:
    page = Page("title", blocks=[Line("label", "v" * 300)])
    assert "v" * 300 in printed(TerminalPage(page, whole=True), 80, soft_wrap=True)
    assert "…" in printed(TerminalPage(page), 80)


def test_joined_emoji_stay_and_controls_go() -> None:
    assert printable("a\x1b[31m\n\u202eb👩\u200d🚀") == r"a\x1b[31m\n\u202eb👩" + "\u200d🚀"
    assert printable("a\nb\x00", lines=True) == "a\nb\\x00"


def test_colours_say_the_status(exp: ts.Experiment) -> None:
    assert '<span class="ts-red">CRASHED</span>' in exp.trial(3)._repr_html_()
    assert '<span class="ts-green">SUCCEEDED</span>' in exp._repr_html_()
    console = Console(width=200, force_terminal=True, color_system="standard", file=io.StringIO())
    console.print(exp.trial(3))
    assert "\x1b[1;31mCRASHED" in console.file.getvalue()  # type: ignore[attr-defined]


def test_an_empty_store_and_an_empty_experiment_have_a_page() -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        assert "no experiments yet" in printed(store, 80)
        assert "no experiments yet" in Tags(store._repr_html_()).text
        empty = store.create_experiment("empty")
        assert "no trials yet" in printed(empty, 80)
        assert "no trials yet" in Tags(empty._repr_html_()).text


def test_a_store_of_many_experiments_shows_the_newest() -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        for k in range(53):
            store.create_experiment(f"e{k:02}")
        text = printed(store, 80)
    assert "e03" in text
    assert "e02" not in text
    assert "3 older ones are not shown" in text


def test_rich_is_not_imported_before_it_is_used() -> None:
    code = "import sys, trialstore as ts; ts.Metric('a'); ts.Store; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
