"""What an experiment must hold after some calls: plain dicts and lists, written without the code under test."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Expected", "RefusedError", "View", "comparable"]

CLAIMABLE = ("PENDING", "SUSPENDED", "INTERRUPTED")
FINAL = ("SUCCEEDED", "PRUNED", "FAILED", "CRASHED", "CANCELED", "TIMED_OUT")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

View = dict[str, list[str]]
"""The rows of each table, spelled and sorted."""


class RefusedError(Exception):
    """The call changes no trial."""


class Expected:
    """One experiment with the metric ``loss``, and the sessions that work on it."""

    def __init__(self) -> None:
        self.trials: dict[int, dict[str, Any]] = {}
        self.rows: dict[str, list[tuple[Any, ...]]] = {"metrics": [], "telemetry": [], "status": []}
        self.artifacts: list[dict[str, Any]] = []
        self.documents: dict[str, tuple[int, Any]] = {}
        self.waiting: dict[str, list[tuple[str, Any]]] = {}
        self.expired: set[str] = set()
        self._stored = 0

    # Trials

    def register(self, params: dict[str, Any], seed: int | None) -> int:
        number = len(self.trials)
        self.trials[number] = {"params": params, "seed": seed, "status": "PENDING", "attempt": 0, "session": None}
        self.trials[number] |= {"metrics": {}, "attributes": {}, "ended": []}
        self._log_status(number)
        return number

    def claim(self, session: str, number: int | None = None) -> int | None:
        if number is None:
            number = min(self.numbers(CLAIMABLE), default=None)
            if number is None:
                return None
        trial = self.trials[number]
        trial["attempt"] += 1
        trial["session"] = session
        self.step(number, "RUNNING")
        return number

    def finish(self, number: int, attempt: int, status: str, metrics: dict[str, Any], reason: str | None) -> None:
        """End a trial; what an attempt that has lost it says is kept in rows of its own."""
        trial = self.trials[number]
        if trial["attempt"] == attempt and trial["status"] == "RUNNING":
            trial["metrics"] = metrics
            self.step(number, status, reason)
            return
        if attempt in trial["ended"]:
            self.rows["metrics"] += [(number, attempt, name, None, *spelled(value)) for name, value in metrics.items()]
            self.rows["status"].append((number, attempt, status, "late result"))
        raise RefusedError

    def give_back(self, number: int, attempt: int, status: str) -> None:
        trial = self.trials[number]
        if trial["attempt"] != attempt or trial["status"] in (*FINAL, status):
            raise RefusedError
        if trial["status"] != "RUNNING" and (trial["status"], status) != ("INTERRUPTED", "SUSPENDED"):
            raise RefusedError
        if trial["status"] == "RUNNING":
            trial["ended"].append(attempt)
        self.step(number, status, None)

    def fix_lost(self, session: str) -> list[int]:
        running = self.numbers(("RUNNING",))
        if {self.trials[number]["session"] for number in running} - {session}:
            self.expired.discard(session)  # who looks after others shows that he is alive
        lost = [number for number in running if self.trials[number]["session"] in self.expired - {session}]
        for number in lost:
            self.trials[number]["ended"].append(self.trials[number]["attempt"])
            self.step(number, "INTERRUPTED", "lease expired")
        return lost

    def step(self, number: int, status: str, reason: str | None = None) -> None:
        self.trials[number]["status"] = status
        self._log_status(number, reason)

    def _log_status(self, number: int, reason: str | None = None) -> None:
        trial = self.trials[number]
        self.rows["status"].append((number, trial["attempt"], trial["status"], reason))

    def numbers(self, statuses: Iterable[str]) -> list[int]:
        return [number for number, trial in self.trials.items() if trial["status"] in statuses]

    # Rows

    def report(self, session: str, number: int, attempt: int, name: str, step: int, value: Any) -> None:
        self._wait(session, "metrics", (number, attempt, name, step, *spelled(value)))

    def sample(self, session: str, number: int, attempt: int, second: int, name: str, value: Any) -> None:
        at = str(NOON + timedelta(seconds=second))
        self._wait(session, "telemetry", (number, attempt, at, name, *spelled(value)))

    def store(self, session: str, number: int, attempt: int, name: str, data: bytes) -> dict[str, Any]:
        self._stored += 1
        artifact = {"trial": number, "attempt": attempt, "name": name, "data": data, "order": self._stored}
        self._wait(session, "artifacts", artifact)
        return artifact

    def newest(self, number: int) -> dict[str, dict[str, Any]]:
        ordered = sorted(self.artifacts, key=lambda artifact: artifact["order"])
        return {artifact["name"]: artifact for artifact in ordered if artifact["trial"] == number}

    def commit(self, session: str) -> None:
        """What a session logged reaches the store, with the next thing that it commits."""
        for table, row in self.waiting.pop(session, []):
            (self.artifacts if table == "artifacts" else self.rows[table]).append(row)

    def _wait(self, session: str, table: str, row: Any) -> None:
        self.waiting.setdefault(session, []).append((table, row))

    # What a reader sees

    def counts(self) -> dict[str, int]:
        statuses = [trial["status"] for trial in self.trials.values()]
        return {status: statuses.count(status) for status in set(statuses)}

    def best(self) -> int | None:
        ended = [(n, self.trials[n]["metrics"].get("loss")) for n in self.numbers(("SUCCEEDED",))]
        ranked = [(loss, number) for number, loss in ended if loss is not None and not math.isnan(loss)]
        return min(ranked)[1] if ranked else None

    def view(self) -> View:
        first: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for row in self.rows["telemetry"]:
            first.setdefault((row[0], row[2], row[3]), row)
        rows = {
            "trials": [(n, t["attempt"], t["status"], t["seed"]) for n, t in self.trials.items()],
            "params": [(n, k, *spelled(v)) for n, t in self.trials.items() for k, v in t["params"].items()],
            "metrics": self.rows["metrics"],
            "telemetry": list(first.values()),
            "status": self.rows["status"],
            "artifacts": [
                (a["trial"], a["attempt"], a["name"], len(a["data"]), hashlib.sha256(a["data"]).hexdigest())
                for a in self.artifacts
            ],
        }
        return {table: comparable(found) for table, found in rows.items()}

    def snapshot(self) -> View:
        return copy.deepcopy(self.view())


def comparable(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Rows that can be compared exactly, NaN included, whatever order they came in."""
    return sorted(repr(tuple(_plain(value) for value in row)) for row in rows)


def _plain(value: Any) -> Any:
    return str(value.astimezone(UTC)) if isinstance(value, datetime) else value


def spelled(value: Any) -> tuple[float | None, str | None, str]:
    """The columns value, text and type of a value, as docs/FORMAT.md has them."""
    if value is None:
        return None, None, "null"
    if isinstance(value, bool):
        return float(value), str(value).lower(), "bool"
    if isinstance(value, int):
        return float(value), None if int(float(value)) == value else str(value), "int"
    if isinstance(value, float):
        return value, None, "float"
    if isinstance(value, str):
        return None, value, "str"
    return None, json.dumps(value, separators=(",", ":")), "json"
