"""Names and texts of a store cannot steer the terminal or the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trialstore as ts
from trialstore.cli.app import app
from trialstore.model.errors import QueryError

EVIL = "x\x1b]0;owned\x07\x1b[2J[bold red]y[/]\u202ez\x9b31m<script>alert(1)</script>\r\n=cmd"
STEERING = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evil") / "store"
    with ts.open(root) as store:
        experiment = store.create_experiment(EVIL, metrics=[ts.Metric(EVIL)], metadata={EVIL: EVIL})
        trial = experiment.register_trial({EVIL: EVIL}, name=EVIL, reserve=True)
        trial.report(**{EVIL: 1.0})
        trial.annotate(**{EVIL: EVIL})
        trial.store({"notes.txt": EVIL})
        trial.success(**{EVIL: 1.0})
        other = experiment.register_trial({EVIL: "b"}, reserve=True)
        other.crashed(EVIL, EVIL)
        experiment.flush()
        experiment.register_trial({EVIL: "c"})
    return root


COMMANDS = [
    ["ls"],
    ["status"],
    ["status", EVIL],
    ["show", EVIL],
    ["show", EVIL, "--trial", "0"],
    ["show", EVIL, "--trial", "1"],
    ["sql", "SELECT * FROM trials"],
    ["sql", "SELECT * FROM params"],
    ["sql", "SELECT nothing FROM trials"],
    ["show", "nobody" + EVIL],
    ["verify"],
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: " ".join(command)[:20].encode("unicode_escape").decode()
)
def test_nothing_that_is_shown_steers_the_terminal(root: Path, command: list[str], as_json: bool) -> None:
    name, *rest = command
    done = CliRunner().invoke(app, [name, str(root), *rest, *(["--json"] if as_json else [])], env={"COLUMNS": "500"})
    told = done.stdout + done.stderr
    assert told
    for character in STEERING:
        assert character not in told, repr(told)
    if as_json and done.exit_code == 0 and name == "ls":
        assert json.loads(done.stdout)[0]["name"] == EVIL


def test_nor_do_errors_and_what_a_notebook_prints(root: Path) -> None:
    store = ts.open(root, mode="r")
    experiment = store.experiment(EVIL)
    with pytest.raises(QueryError) as caught:
        store.sql("SELECT nothing FROM trials")
    shown = [str(caught.value), repr(experiment), repr(experiment.trial(0)), repr(store.sql("SELECT * FROM trials"))]
    with pytest.raises(ts.TrialStoreError) as missing:
        store.experiment(EVIL[:-1])
    shown.append(str(missing.value))
    for text in shown:
        assert not any(character in text for character in STEERING), repr(text)


def test_data_stays_exact(root: Path) -> None:
    """What programs read is not changed: neither to protect a terminal, nor a spreadsheet from formulas."""
    rows = json.loads(CliRunner().invoke(app, ["sql", str(root), "SELECT name FROM trials", "--json"]).stdout)
    assert {row["name"] for row in rows} == {EVIL, None}
    done = CliRunner().invoke(app, ["sql", str(root), "SELECT '=1+1' AS a, '-2' AS b", "-f", "csv"])
    assert done.stdout == "a,b\n=1+1,-2\n"
