"""Parameters at random from a space."""

from __future__ import annotations

import math
import random
from typing import Any

from trialstore.model.space import Categorical, Dimension, Fidelity, Integer, Real, Space

__all__ = ["sample"]


def sample(space: Space, chance: random.Random) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Parameters and fidelity drawn from a space, each alone and evenly, on a logarithmic scale where it says so.

    The same state of `chance` gives the same parameters. A fidelity is its default, or else its highest.

    Example:
        >>> from trialstore.model.space import Integer, Real
        >>> params, fidelity = sample(Space({"lr": Real(1e-4, 1, log=True), "n": Integer(1, 9)}), random.Random(0))
        >>> sorted(params), fidelity
        (['lr', 'n'], None)
    """
    params: dict[str, Any] = {}
    fidelity: dict[str, Any] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Fidelity):
            fidelity[name] = dimension.high if dimension.default is None else dimension.default
        else:
            params[name] = _draw(dimension, chance)
    return params, fidelity or None


def _draw(dimension: Dimension, chance: random.Random) -> Any:
    if isinstance(dimension, Categorical):
        return dimension.choices[chance.randrange(len(dimension.choices))]
    if isinstance(dimension, Integer):
        if not dimension.log:
            return chance.randint(dimension.low, dimension.high)
        # Half a step beyond both ends, so that they come as often as their place on the scale says.
        drawn = math.exp(chance.uniform(math.log(dimension.low - 0.5), math.log(dimension.high + 0.5)))
        return min(max(round(drawn), dimension.low), dimension.high)
    assert isinstance(dimension, Real)
    if dimension.log:
        value = math.exp(chance.uniform(math.log(dimension.low), math.log(dimension.high)))
    else:
        value = dimension.low + (dimension.high - dimension.low) * chance.random()
        if math.isinf(dimension.high - dimension.low):
            value = dimension.low * (1 - (part := chance.random())) + dimension.high * part
    if dimension.precision is not None:
        value = float(f"{value:.{dimension.precision}g}")
    return min(max(value, dimension.low), dimension.high)
