"""One error for whatever goes wrong when something stored is not what the format says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trialstore.model.errors import DamagedError, TrialStoreError, UsageError

__all__ = ["as_damage"]

_MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@contextmanager
def as_damage(what: str, **facts: object) -> Iterator[None]:
    """Tell any error of reading stored values as a `DamagedError`: a value that was stored is nobody's wrong call.

    Args:
        what: What is read, as in ``"the experiment's configuration"``.
        facts: Where it is.
    """
    try:
        yield
    except TrialStoreError as error:
        if not isinstance(error, UsageError):
            raise
        raise _damage(what, error.message, facts) from None
    except _MALFORMED as error:
        raise _damage(what, repr(error), facts) from None


def _damage(what: str, reason: str, facts: dict[str, object]) -> DamagedError:
    return DamagedError(f"{what} is not as the format says", hint=None, reason=reason, **facts)
