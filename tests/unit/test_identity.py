from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialstore.blobs.keys import check_key
from trialstore.model.errors import InvalidNameError
from trialstore.model.identity import NAME_LIMIT, check_name, escape, new_ulid, params_hash, unescape

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
NASTY = [
    "..",
    ".",
    "../..",
    "/",
    "a/b",
    "a\\b",
    "C:",
    "nul\0",
    " ",
    "a ",
    "\n",
    "é",
    "🧪" * 40,
    "%2F",
    "~",
    "a~b",
    "A" * 2000,
]


@settings(max_examples=300)
@given(TEXT)
def test_an_escaped_name_is_one_safe_piece_of_a_key(name: str) -> None:
    text = escape(name)
    assert 0 < len(text) <= 120
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.%~")
    assert check_key(f"journal/experiment={text}/0.jsonl")
    assert check_key(text)
    if "~" not in text:
        assert unescape(text) == name


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_are_safe_too(name: str) -> None:
    text = escape(name)
    assert check_key(text)
    assert "/" not in text
    assert ".." not in text.split("/")
    assert len(text) <= 120


@settings(max_examples=300)
@given(TEXT, TEXT)
def test_two_names_never_share_a_folder(left: str, right: str) -> None:
    assert (escape(left) == escape(right)) == (left == right)


def test_two_long_names_with_one_beginning_do_not_share_a_folder() -> None:
    names = ["é" * 500 + end for end in "abc"] + ["x" * 500 + end for end in "abc"]
    assert len({escape(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tune-redis", "tune-redis"),
        ("tune redis", "tune%20redis"),
        ("../a/b", "%2E.%2Fa%2Fb"),
        ("é", "%C3%A9"),
        ("..", "%2E%2E"),
        ("a~b", "a%7Eb"),
        ("x" * 121, "x" * 103 + "~79072a47bfaa54e6"),
    ],
)
def test_folder_names_are_pinned(name: str, text: str) -> None:
    assert escape(name) == text


@pytest.mark.parametrize("name", ["a", "x" * NAME_LIMIT, "🧪", "..", "a/b", " "])
def test_any_text_is_a_name(name: str) -> None:
    assert check_name(name, "experiment") == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "the name of a trial is empty"),
        ("x" * (NAME_LIMIT + 1), "the name of a trial is too long"),
        ("\ud800", "the name of a trial is not valid Unicode"),
        (3, "the name of a trial must be text"),
        (None, "the name of a trial must be text"),
        (b"a", "the name of a trial must be text"),
    ],
)
def test_what_is_no_name_is_refused(name: Any, message: str) -> None:
    with pytest.raises(InvalidNameError, match=message):
        check_name(name, "trial")


def test_the_error_of_a_long_name_is_short() -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name("x" * 10_000, "trial")
    assert len(str(caught.value)) < 400
    assert "length=10000" in str(caught.value)


def test_ulids_are_unique_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr("trialstore.model.identity.time.time_ns", lambda: now)
    first = [new_ulid() for _ in range(500)]
    now += 1_000_000
    second = [new_ulid() for _ in range(500)]
    assert len({*first, *second}) == 1000
    assert max(first) < min(second)
    assert all(len(ulid) == 26 and ulid[:10] == first[0][:10] for ulid in first)


def test_the_hash_of_parameters_is_pinned() -> None:
    assert params_hash({}) == "44136fa355b3678a1146ad16f7e8649e"
    assert params_hash({"lr": 0.1, "k": 3}) == "f8b868d6416c8b8e6ff470ff996b39e3"


def test_the_hash_knows_types_and_not_order() -> None:
    values: list[Any] = [1, 1.0, True, "1", None, math.nan, math.inf, (1,), [1], b"1", 2**64, 0.0, -0.0, {"a": 1}]
    assert len({params_hash({"a": value}) for value in values}) == len(values)
    assert params_hash({"a": math.nan}) == params_hash({"a": float("nan")})
    items = [(f"p{i}", i) for i in range(20)]
    shuffled = random.Random(3).sample(items, 20)
    assert params_hash(dict(items)) == params_hash(dict(shuffled))


def test_the_hash_cannot_be_confused_by_dollar_names() -> None:
    tricky: list[dict[str, Any]] = [{"$int": "1"}, {"a": {"$int": "1"}}, {"$dict": []}, {"$float": "nan"}]
    assert len({params_hash(item) for item in tricky}) == len(tricky)


def test_the_hash_of_names_with_a_dollar_does_not_depend_on_order() -> None:
    assert params_hash({"$a": 1, "b": 2}) == params_hash({"b": 2, "$a": 1})
