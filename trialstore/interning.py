"""Small integers that stand for parameter sets in a whole store."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.journal.catalog import Catalog
from trialstore.journal.journal import Draft, Journal
from trialstore.ledger import catalog_of
from trialstore.session import Session

__all__ = ["Interning", "interning_of"]

_REMEMBERED = 4096


class Interning:
    """The one place of a session where parameter sets get their integers. `interning_of` gives it.

    Args:
        session: Who asks, and where.
        catalog: Of the session's store.
    """

    def __init__(self, session: Session, catalog: Journal[Catalog]) -> None:
        self._session = session
        self._catalog = catalog
        self._asked: set[str] = set()
        weakref.finalize(self, catalog.flush)

    def ids(self, hashes: Sequence[str], packed: Sequence[Mapping[str, Any]]) -> list[int]:
        """See `Store.intern_many`: the integers of parameter sets that were packed and hashed already.

        Args:
            hashes: What `packed_hash` says of each.
            packed: What `pack_dict` made of each.

        Cost: nothing where all are known in this process; else one commit, durable.
        """
        with self._catalog.view(refresh=False) as state:
            known = [state.configuration_ids.get(digest) for digest in hashes]
        if None not in known:
            return [number for number in known if number is not None]
        self._session.require_writable()
        draft = Draft("intern", {"hashes": list(hashes), "params": list(packed)})
        ids: list[int] = self._catalog.execute(draft)[-1].value
        return ids

    def known(self, digest: str) -> int | None:
        """The integer of a parameter set, None where this process knows of none. Cost: nothing is read."""
        with self._catalog.view(refresh=False) as state:
            return state.configuration_ids.get(digest)

    def later(self, digest: str, packed: Mapping[str, Any]) -> None:
        """Have a parameter set get its integer with the next commit of the catalog, at the latest after the linger.

        A process that is killed before has not asked: the set gets its integer when somebody does.
        """
        if digest in self._asked or self.known(digest) is not None:
            return
        self._session.require_writable()
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        self._asked.add(digest)
        self._catalog.post(Draft("intern", {"hashes": [digest], "params": [packed]}))
        self._session.linger(self)

    @property
    def has_waiting(self) -> bool:
        """Whether a set waits for its integer."""
        return self._catalog.has_waiting

    def flush_lingering(self) -> None:
        """Commit what waits; durable when it returns."""
        self._catalog.flush()


def interning_of(session: Session) -> Interning:
    """The one that this session has."""
    catalog = catalog_of(session)
    interning: Interning = session.writer("interning", lambda: Interning(session, catalog))
    return interning
