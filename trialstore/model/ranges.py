"""Sets of trial numbers as inclusive ranges: small however many numbers they hold."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from trialstore.model.part import Ranges

__all__ = ["in_ranges", "iterate_ranges", "ranges_of"]


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """The ranges that hold exactly these numbers.

    Example:
        >>> ranges_of([3, 1, 2, 7])
        ((1, 3), (7, 7))
    """
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def in_ranges(number: int, ranges: Ranges) -> bool:
    """Whether a number is in one of the ranges."""
    index = bisect_right(ranges, (number, float("inf"))) - 1
    return index >= 0 and ranges[index][0] <= number <= ranges[index][1]


def iterate_ranges(ranges: Iterable[Iterable[int]]) -> Iterator[int]:
    """The numbers in the ranges, ascending."""
    for first, last in ranges:
        yield from range(first, last + 1)
