"""Small integers that stand for parameter sets in a whole store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.journal.journal import Draft
from trialstore.ledger import catalog_of
from trialstore.session import Session

__all__ = ["interned"]


def interned(session: Session, hashes: Sequence[str], packed: Sequence[Mapping[str, Any]]) -> list[int]:
    """See `Store.intern_many`: the integers of parameter sets that were packed and hashed already.

    Args:
        session: Who asks, and where.
        hashes: What `packed_hash` says of each.
        packed: What `pack_dict` made of each.

    Cost: nothing where all are known in this process; else one commit, durable.
    """
    catalog = catalog_of(session)
    with catalog.view(refresh=False) as state:
        known = [state.configuration_ids.get(digest) for digest in hashes]
    if None not in known:
        return [number for number in known if number is not None]
    session.require_writable()
    ids: list[int] = catalog.execute(Draft("intern", {"hashes": list(hashes), "params": list(packed)}))[-1].value
    return ids
