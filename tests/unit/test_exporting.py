"""What an integration's package exports, with its tool and without."""

from __future__ import annotations

import json.decoder

import pytest

from trialstore.integrations.exporting import exported
from trialstore.model.errors import MissingExtraError


def member(name: str, needed: tuple[str, ...] = ()) -> object:
    homes = {"JSONDecoder": "decoder", "Lost": "not_there"}
    return exported("json", name, homes, tool="Json", extra="json", needed=needed)


def test_a_member_is_imported_from_its_home() -> None:
    assert member("JSONDecoder") is json.decoder.JSONDecoder


def test_what_is_no_member_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'decoder'"):
        member("decoder")


def test_a_missing_tool_is_told_with_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"Json is not installed[\s\S]*pip install 'trialstore\[json\]'"):
        member("Lost", needed=("json",))


def test_a_missing_module_of_another_package_is_raised_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        member("Lost", needed=("other",))
    assert not isinstance(caught.value, MissingExtraError)
