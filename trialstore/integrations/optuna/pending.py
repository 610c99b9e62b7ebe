"""What was set of a trial and is on its way to the store."""

from __future__ import annotations

import copy
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from trialstore.integrations.optuna.trials import DISTRIBUTION, SYSTEM, copied, id_of
from trialstore.model.codec import pack, pack_dict
from trialstore.model.times import now_text

__all__ = ["Pending"]


class Pending:
    """Values of one trial that are not known to be committed. Of two for one name the later one counts.

    Attributes:
        size_bytes: About how much there is to commit; `Waiting` counts it.
    """

    __slots__ = (
        "_extras",
        "_packed",
        "_packed_attrs",
        "_reports",
        "attrs",
        "distributions",
        "params",
        "size_bytes",
        "steps",
        "system",
    )

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.attrs: dict[str, Any] = {}
        self.system: dict[str, Any] = {}
        self.steps: dict[int, float] = {}
        self.size_bytes = 0
        self._packed: dict[str, Any] = {}
        self._packed_attrs: dict[str, Any] = {}
        self._extras: dict[str, Any] = {}
        self._reports: dict[int, list[Any]] = {}

    def set_param(self, name: str, value: Any, distribution: BaseDistribution, text: str) -> None:
        """A parameter, as the user sees it.

        Args:
            name: Of the parameter.
            value: Its value.
            distribution: Where it comes from.
            text: What `text_of` says of that.
        """
        self._packed[name] = pack(value, f"params.{name}")
        self._extras[DISTRIBUTION + name] = text
        self.params[name], self.distributions[name] = value, distribution

    def set_attr(self, key: str, value: Any, *, system: bool) -> None:
        """A user or a system attribute."""
        if system:
            self._extras[SYSTEM + key] = pack(value, key)
            self.system[key] = value
        else:
            self._packed_attrs[key] = pack(value, key)
            self.attrs[key] = value

    def set_step(self, metric: str, step: int, value: float) -> None:
        """An intermediate value."""
        self._reports[step] = [metric, step, now_text(), pack(value)]
        self.steps[step] = value

    def over(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as it is with these values; as after `copied` the caller may change it."""
        again = copied(trial)
        again._params.update(self.params)
        again._distributions.update(self.distributions)
        if self.attrs:
            again._user_attrs.update(copy.deepcopy(self.attrs))
        if self.system:
            again._system_attrs.update(copy.deepcopy(self.system))
        again.intermediate_values.update(self.steps)
        return again

    def fields(self, trial: FrozenTrial) -> dict[str, Any]:
        """What the journal says of it.

        Args:
            trial: As it is without these values.
        """
        body: dict[str, Any] = {"trial": trial.number}
        if self._packed:
            before = pack_dict(trial.params, "params") if trial.params else {}
            body["id"] = id_of({**trial.params, **self.params}, {**before, **self._packed})
            body["params"] = self._packed
        if self._extras:
            body["extras"] = self._extras
        if self._packed_attrs:
            body["attributes"] = self._packed_attrs
        if self._reports:
            body["reports"] = list(self._reports.values())
        return body

    def before(self, later: Pending) -> Pending:
        """Both, of which `later` counts where they are of one name."""
        both = Pending()
        for name in Pending.__slots__:
            mine, theirs = getattr(self, name), getattr(later, name)
            setattr(both, name, mine + theirs if name == "size_bytes" else {**mine, **theirs})
        return both
