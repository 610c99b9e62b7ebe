"""What was measured of a stretch of a program: its time and its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trialstore.model.errors import UsageError

__all__ = ["PROFILE_FIELDS", "MemoryInterval", "MemoryUnit", "Profile", "TimeInterval", "TimeKind"]

PROFILE_FIELDS = (
    "name",
    "time_kind",
    "start_s",
    "end_s",
    "memory_unit",
    *(f"{when}_{kind}_bytes" for kind in ("rss", "vms", "shared") for when in ("start", "end")),
)
"""What the values of `Profile.to_row` are called in tables, in order."""

_NAN = math.nan


class TimeKind(StrEnum):
    """Which clock measures: `WALL` real time, `CPU` processor time of the thread, `PROCESS` that of the process."""

    WALL = "wall"
    CPU = "cpu"
    PROCESS = "process"

    @classmethod
    def parse(cls, text: str) -> TimeKind:
        """The kind of this name, in any case.

        Raises:
            UsageError: there is none.
        """
        try:
            return cls(text.lower())
        except (ValueError, AttributeError):
            raise UsageError("not a kind of time", hint=f"one of {', '.join(cls)}", time=text) from None


class MemoryUnit(StrEnum):
    """The unit in which memory is shown; each is 1,024 of the one before."""

    BYTES = "bytes"
    KILOBYTES = "kilobytes"
    MEGABYTES = "megabytes"
    GIGABYTES = "gigabytes"

    @classmethod
    def parse(cls, text: str) -> MemoryUnit:
        """The unit of this name or short name (B, KB, MB, GB), in any case.

        Raises:
            UsageError: there is none.
        """
        unit = _UNITS.get(text.lower()) if isinstance(text, str) else None
        if unit is None:
            raise UsageError("not a unit of memory", hint="one of B, KB, MB, GB", memory_unit=text)
        return unit

    @property
    def in_bytes(self) -> int:
        """How many bytes one is."""
        return _BYTES[self]


_BYTES: dict[MemoryUnit, int] = {unit: 1 << 10 * power for power, unit in enumerate(MemoryUnit)}
_UNITS = {unit.value: unit for unit in MemoryUnit} | dict(zip(("b", "kb", "mb", "gb"), MemoryUnit, strict=True))


@dataclass(slots=True)
class TimeInterval:
    """When a stretch began and ended, in seconds.

    Attributes:
        start, end: Of kind `WALL` seconds since 1970, of the others seconds of the processor's time. NaN until the
            stretch has ended.
        kind: Which clock measured; None when nothing was measured.
    """

    start: float = _NAN
    end: float = _NAN
    kind: TimeKind | None = None

    @property
    def duration(self) -> float:
        """Seconds between start and end, NaN until the stretch has ended."""
        return self.end - self.start

    @property
    def unit(self) -> str | None:
        """Always seconds; None when nothing was measured."""
        return None if self.kind is None else "seconds"

    def to_dict(self, *, prefix: str = "") -> dict[str, Any]:
        """Start, end, duration, kind and unit by name."""
        return {
            f"{prefix}start": self.start,
            f"{prefix}end": self.end,
            f"{prefix}duration": self.duration,
            f"{prefix}kind": None if self.kind is None else self.kind.value,
            f"{prefix}unit": self.unit,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TimeInterval:
        """The interval that `to_dict` described; what is absent or null was not measured.

        Raises:
            UsageError: the unit is not seconds, or the kind unknown.
        """
        unit, kind = values.get("unit"), values.get("kind")
        if unit not in (None, "seconds"):
            raise UsageError("time of a profile must be in seconds", unit=unit)
        return cls(
            _number(values.get("start")), _number(values.get("end")), None if kind is None else TimeKind.parse(kind)
        )


@dataclass(slots=True)
class MemoryInterval:
    """How much memory the process had when a stretch began and when it ended.

    It says nothing of a peak between the two.

    Attributes:
        start_rss, end_rss: Resident memory.
        start_vms, end_vms: Virtual memory.
        start_shared, end_shared: Resident memory that other processes may share; NaN where the system does not tell.
        unit: The unit of all of them; None when nothing was measured.
    """

    start_rss: float = _NAN
    end_rss: float = _NAN
    start_vms: float = _NAN
    end_vms: float = _NAN
    start_shared: float = _NAN
    end_shared: float = _NAN
    unit: MemoryUnit | None = None

    @property
    def rss_used(self) -> float:
        """Growth of the resident memory; negative when some was given back."""
        return self.end_rss - self.start_rss

    @property
    def vms_used(self) -> float:
        """Growth of the virtual memory."""
        return self.end_vms - self.start_vms

    @property
    def shared_used(self) -> float:
        """Growth of the shared memory."""
        return self.end_shared - self.start_shared

    def to_unit(self, unit: MemoryUnit | str) -> MemoryInterval:
        """The same in another unit; exact, since units differ by powers of two."""
        target = MemoryUnit.parse(unit)
        if self.unit is None or self.unit is target:
            return self
        factor = self.unit.in_bytes / target.in_bytes
        return MemoryInterval.of([value * factor for value in self._values()], target)

    @classmethod
    def of(cls, values: Sequence[float], unit: MemoryUnit | None) -> MemoryInterval:
        """The interval with these values, in the order of the attributes."""
        rss, rss_after, vms, vms_after, shared, shared_after = values
        return cls(rss, rss_after, vms, vms_after, shared, shared_after, unit)

    def _values(self) -> tuple[float, ...]:
        return self.start_rss, self.end_rss, self.start_vms, self.end_vms, self.start_shared, self.end_shared

    def to_dict(self, *, prefix: str = "") -> dict[str, Any]:
        """Start, end and difference of each kind of memory, and the unit, by name."""
        return {
            f"{prefix}start_vms": self.start_vms,
            f"{prefix}end_vms": self.end_vms,
            f"{prefix}diff_vms": self.vms_used,
            f"{prefix}start_rss": self.start_rss,
            f"{prefix}end_rss": self.end_rss,
            f"{prefix}diff_rss": self.rss_used,
            f"{prefix}start_shared": self.start_shared,
            f"{prefix}end_shared": self.end_shared,
            f"{prefix}diff_shared": self.shared_used,
            f"{prefix}unit": None if self.unit is None else self.unit.value,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemoryInterval:
        """The interval that `to_dict` described; what is absent or null was not measured.

        Raises:
            UsageError: the unit is unknown.
        """
        unit = values.get("unit")
        return cls.of([_number(values.get(name)) for name in _MEMORY], None if unit is None else MemoryUnit.parse(unit))


_MEMORY = ("start_rss", "end_rss", "start_vms", "end_vms", "start_shared", "end_shared")


@dataclass(slots=True)
class Profile:
    """Time and memory of one stretch; NaN until it has ended.

    Example:
        >>> from trialstore.model.profile import Profile, TimeInterval, TimeKind
        >>> Profile(TimeInterval(1.5, 4.0, TimeKind.CPU)).time.duration
        2.5

    Source: AMLTK, `amltk.profiling.Profile.Interval`.
    """

    time: TimeInterval = field(default_factory=TimeInterval)
    memory: MemoryInterval = field(default_factory=MemoryInterval)

    def to_dict(self, *, prefix: str = "") -> dict[str, Any]:
        """All values by name, ``memory:…`` and ``time:…``, after the prefix and a colon where there is one."""
        before = f"{prefix}:" if prefix else ""
        return {
            **self.memory.to_dict(prefix=f"{before}memory:"),
            **self.time.to_dict(prefix=f"{before}time:"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Profile:
        """The profile that `to_dict` described, without a prefix."""
        return cls(
            TimeInterval.from_dict({k.removeprefix("time:"): v for k, v in values.items() if k.startswith("time:")}),
            MemoryInterval.from_dict(
                {k.removeprefix("memory:"): v for k, v in values.items() if k.startswith("memory:")}
            ),
        )

    def to_row(self, name: str) -> list[Any]:
        """The stored row: name, kind, start and end in seconds, unit, and six sizes in bytes."""
        time, memory = self.time, self.memory
        factor = 1 if memory.unit is None else memory.unit.in_bytes
        sizes = [value * factor for value in memory._values()]
        kind, unit = time.kind, memory.unit
        return [name, kind and kind.value, time.start, time.end, unit and unit.value, *sizes]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> tuple[str, Profile]:
        """The name and the profile that `to_row` described."""
        name, kind, start, end, unit, *sizes = row
        known = None if unit is None else MemoryUnit.parse(unit)
        factor = 1 if known is None else known.in_bytes
        time = TimeInterval(start, end, None if kind is None else TimeKind.parse(kind))
        return name, cls(time, MemoryInterval.of([size / factor for size in sizes], known))


def _number(value: Any) -> float:
    if value is None:
        return _NAN
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise UsageError("a measured value must be a number", value=value)
    return float(value)
