"""Which sources of telemetry may hold the same sample twice."""

from __future__ import annotations

from trialstore.model.extent import Extent

__all__ = ["overlapping"]


def overlapping(extents: list[Extent]) -> set[int]:
    """The indexes of those that share a trial and a stretch of time with another one."""
    found: set[int] = set()
    running: list[int] = []
    for index in sorted(range(len(extents)), key=lambda i: extents[i].first_at or ""):
        extent = extents[index]
        running = [other for other in running if (extents[other].last_at or "") >= (extent.first_at or "")]
        for other in running:
            if not (index in found and other in found) and extent.meets(extents[other]):
                found |= {index, other}
        running.append(index)
    return found
