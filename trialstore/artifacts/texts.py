"""Text and YAML files."""

from __future__ import annotations

from typing import Any

from trialstore.model.codec import encode
from trialstore.model.errors import MissingExtraError, UsageError

__all__ = ["dump_text", "dump_yaml", "load_yaml"]


def dump_text(value: Any) -> bytes:
    """Text in UTF-8."""
    if not isinstance(value, str):
        raise TypeError("text is needed")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise TypeError("text must be valid Unicode") from None


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError(
            "YAML needs a package that is not installed", hint='pip install "trialstore[yaml]"'
        ) from None
    return yaml


def dump_yaml(value: Any) -> bytes:
    """YAML that reads back as the same value, type for type; names keep their order."""
    yaml = _yaml()
    try:
        text = str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))
        # YAML takes a tuple for a list, and more of this kind: what would come back as something else is refused.
        same = encode(yaml.safe_load(text)) == encode(value)
    except (yaml.YAMLError, UsageError, UnicodeEncodeError):
        same = False
    if not same:
        raise TypeError("YAML would give back something else")
    return text.encode()


def load_yaml(data: bytes) -> Any:
    """The value in a YAML file; one with tags that would make objects is refused with an error of YAML's own."""
    return _yaml().safe_load(data)
