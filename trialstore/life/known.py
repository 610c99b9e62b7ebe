"""What a trial's handle tells of the trial, without any verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from trialstore.life.held import Held
from trialstore.life.measuring import BEGIN
from trialstore.model.metric import Metric
from trialstore.model.observation import Observation
from trialstore.model.profile import MemoryInterval, Profile, TimeInterval
from trialstore.model.status import Status
from trialstore.model.times import parse_time

__all__ = ["Known"]


class Known:
    """The properties of `trialstore.trial.Trial`: what this process knows of the trial."""

    _held: Held

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self._held.ledger.entry.name

    @property
    def number(self) -> int:
        """0, 1, 2 … in the experiment."""
        return self._held.record.number

    @property
    def id(self) -> str:
        """Hash of the parameters, 32 hexadecimal digits."""
        return self._held.record.id

    @property
    def name(self) -> str:
        """The name it was registered with, or one made of the experiment's name and the number."""
        return self._held.record.name or f"{self.experiment}-{self.number}"

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters, read-only, in the order they were given."""
        return self._held.params

    @property
    def config(self) -> Mapping[str, Any]:
        """The same as `params`, under AMLTK's name."""
        return self._held.params

    @property
    def status(self) -> Status:
        """The status as this object last knew it; `refresh` looks again."""
        return self._held.record.status

    @property
    def attempt(self) -> int:
        """How often the trial was claimed; the attempt that this object speaks for."""
        return self._held.record.attempt

    @property
    def seed(self) -> int | None:
        """The seed it was registered with; 0 is one."""
        return self._held.record.seed

    @property
    def fidelity(self) -> Mapping[str, Any] | None:
        """How much effort it is meant to spend."""
        return self._held.record.fidelity

    @property
    def fidelities(self) -> Mapping[str, Any] | None:
        """The same as `fidelity`, under AMLTK's name."""
        return self.fidelity

    @property
    def info(self) -> Any:
        """What the optimiser gave with it when it was registered."""
        return self._held.record.info

    @property
    def runner(self) -> int | None:
        """Who it was assigned to; see `set_trial_runner`."""
        return self._held.record.runner

    @property
    def metric_defs(self) -> Mapping[str, Metric]:
        """The experiment's metrics by name."""
        return MappingProxyType({metric.name: metric for metric in self._held.declared})

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Final values by name; empty until it has ended."""
        return MappingProxyType(self._held.record.metrics)

    @property
    def observations(self) -> Mapping[str, Observation]:
        """Final values with what is known of their noise; empty until it has ended."""
        record = self._held.record
        sem, n = record.sem or {}, record.n or {}
        return {name: Observation(mean, sem.get(name), n.get(name)) for name, mean in record.metrics.items()}

    @property
    def summary(self) -> dict[str, Any]:
        """A mapping to put anything into that is worth a column; stored when the trial ends.

        Changing it afterwards changes nothing in the store.
        """
        return self._held.keep().summary

    @property
    def extras(self) -> Mapping[str, Any]:
        """What `attach_extra` attached."""
        return MappingProxyType(self._held.keep().extras)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """What was measured, by name, in the order in which the measurements began; stored when the trial ends."""
        return MappingProxyType(self._held.keep().profiles)

    @property
    def time(self) -> TimeInterval:
        """Time that the block of `begin` took; NaN until it has."""
        return self.profiles.get(BEGIN, Profile()).time

    @property
    def memory(self) -> MemoryInterval:
        """Memory before and after the block of `begin`; NaN until then."""
        return self.profiles.get(BEGIN, Profile()).memory

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was annotated."""
        return MappingProxyType(self._held.record.attributes or {})

    @property
    def exception(self) -> BaseException | str | None:
        """What was raised in `begin` or given to `crashed`; its text once it comes from the store."""
        return self._held.exception

    @exception.setter
    def exception(self, error: BaseException | str | None) -> None:
        self._held.exception = error

    @property
    def traceback(self) -> str | None:
        """The traceback of `exception` as text."""
        return self._held.traceback

    @traceback.setter
    def traceback(self, text: str | None) -> None:
        self._held.traceback = text

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """Attempts that ended without finishing the trial, with late results where there were any."""
        return tuple(self._held.record.attempts)

    @property
    def worker(self) -> str | None:
        """Host and process that ran it."""
        return self._held.record.worker

    @property
    def parent(self) -> int | None:
        """Number of the trial that this one was made from."""
        return self._held.record.parent

    @property
    def created_at(self) -> datetime:
        """When it was registered, aware UTC."""
        return self.submitted_at

    @property
    def submitted_at(self) -> datetime:
        """When it was registered, aware UTC."""
        return parse_time(self._held.record.submitted_at)

    @property
    def started_at(self) -> datetime | None:
        """When the present attempt was claimed."""
        return None if self._held.record.started_at is None else parse_time(self._held.record.started_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return None if self._held.record.ended_at is None else parse_time(self._held.record.ended_at)
