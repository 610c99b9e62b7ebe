"""What is noted of a trial beside its result: attributes, extras, names of stored things, its runner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.life.settling import settled
from trialstore.model.codec import pack, pack_dict, plain
from trialstore.model.errors import UsageError
from trialstore.model.identity import check_name

__all__ = ["annotate", "assign", "attach", "elsewhere"]

_INT64 = 2**63


def annotate(held: Held, attributes: Mapping[str, Any]) -> None:
    """See `Trial.annotate`."""
    _note(held, {"attributes": pack_dict(attributes, "attributes")})
    held.record = replace(held.record, attributes={**(held.record.attributes or {}), **attributes})


def attach(held: Held, name: str, item: Any, stored: bool) -> None:
    """See `Trial.attach_extra`."""
    check_name(name, "extra")
    if stored:
        try:
            packed = pack(item, f"extras.{name}")
        except UsageError as error:
            raise UsageError(
                error.message, hint="attach_extra(name, item, stored=False) keeps it in this process", **error.facts
            ) from None
        if held.record.status.is_final:
            _note(held, {"extras": {name: packed}})
            held.record = replace(held.record, extras={**(held.record.extras or {}), name: item})
    unsaved = held.keep()
    unsaved.extras[name] = item
    unsaved.passing.discard(name) if stored else unsaved.passing.add(name)


def elsewhere(held: Held, *, added: Iterable[str] = (), gone: Iterable[str] = ()) -> None:
    """Know of things that were stored outside of the store, or deleted there."""
    added, gone = list(added), set(gone)
    if held.record.status.is_final:
        _note(held, {"storage": added, "gone": sorted(gone)})
        kept = dict.fromkeys([*(held.record.storage or ()), *added])
        held.record = replace(held.record, storage=[name for name in kept if name not in gone] or None)
        return
    names = held.keep().elsewhere
    names.update(dict.fromkeys(added))
    for name in gone:
        names.pop(name, None)


def assign(held: Held, runner: int | None, was: int | None) -> int | None:
    """See `Trial.set_trial_runner`."""
    wanted, expected = _runner(runner), _runner(was)
    fields: dict[str, Any] = {"trial": held.record.number, "runner": wanted}
    if expected is not None:
        fields["was"] = expected
    now: int | None = held.ledger.execute_one(Draft("assign", fields))
    held.record = replace(held.record, runner=now)
    return now


def _runner(runner: object) -> int | None:
    number = plain(runner)
    if number is not None and (type(number) is not int or not -_INT64 <= number < _INT64):
        raise UsageError("a runner must be a whole number of at most 64 bits", runner=runner)
    return number


def _note(held: Held, fields: dict[str, Any]) -> None:
    """Commit an annotation, also of a trial whose row is in a part."""
    settled(held.ledger, Draft("annotate", {"trial": held.record.number, **fields}))
