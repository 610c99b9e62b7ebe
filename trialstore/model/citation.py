"""The id of a snapshot: a short text that names one state of a store, and holds all that is needed to find it again.

An id says up to which commit each journal counts, and closes with a checksum over the commits' own checksums, each of
which covers the whole history before it. So an id is equal for equal histories alone, and it names what it names
wherever the store is copied to; nothing is written to make one.

Its form is ``ts`` and lower-case base32 of: a byte, 1 for a whole store and 2 for one experiment; whole numbers, seven
bits a byte from the lowest, the highest bit set where more follow; 5 bytes of SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32decode, b32encode
from collections.abc import Sequence
from dataclasses import dataclass

from trialstore.model.errors import UsageError

__all__ = ["Citation", "Mark", "is_citation"]

Mark = tuple[int, int]
"""The last commit that readers notice: its sequence number, -1 for none, and its checksum."""

_PREFIX = "ts"
_TEXT = re.compile(r"ts[a-z2-7]{10,}")
_STORE, _EXPERIMENT = 1, 2
_DIGEST_BYTES = 5
_LONGEST_BITS = 63


def is_citation(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _TEXT.fullmatch(text.strip()) is not None


@dataclass(frozen=True, slots=True)
class Citation:
    """What an id says.

    Attributes:
        catalog: Of a whole store the last commit of its catalog that counts; of an experiment the commit that wrote
            what the catalog says of it.
        experiment: Number of the one experiment; None for a whole store.
        seqs: The last commit of each experiment that counts, in the order of their numbers; -1 for none.
        digest: Checksum over the histories.
    """

    catalog: int
    experiment: int | None
    seqs: tuple[int, ...]
    digest: bytes

    @classmethod
    def of(
        cls, store: str, catalog: Mark, experiments: Sequence[tuple[int, Mark]], *, only: int | None = None
    ) -> Citation:
        """What names these positions in a store.

        Args:
            store: The store's id.
            catalog: See the attribute.
            experiments: Number and position of each, in the order of their numbers.
            only: The number of the one experiment, when it is no whole store.
        """
        lines = [f"{store} {only} {catalog[0]} {catalog[1]}"]
        lines += [f"{number} {seq} {crc32}" for number, (seq, crc32) in experiments]
        digest = hashlib.sha256("\n".join(lines).encode()).digest()[:_DIGEST_BYTES]
        return cls(catalog[0], only, tuple(seq for _, (seq, _) in experiments), digest)

    def __str__(self) -> str:
        kind = [_STORE] if self.experiment is None else [_EXPERIMENT, self.experiment]
        numbers = [*kind, self.catalog + 1, *(seq + 1 for seq in self.seqs)]
        data = b"".join(map(_spell, numbers)) + self.digest
        return _PREFIX + b32encode(data).decode().rstrip("=").lower()

    @classmethod
    def parse(cls, text: str) -> Citation:
        """What an id says.

        Raises:
            UsageError: it is none, or was cut or mistyped.
        """
        body = text.strip().removeprefix(_PREFIX).upper()
        try:
            data = b32decode(body + "=" * (-len(body) % 8))
            kind, *numbers = _numbers(data[:-_DIGEST_BYTES])
            experiment = numbers.pop(0) if kind == _EXPERIMENT else None
            catalog, *seqs = (number - 1 for number in numbers)
            found = cls(catalog, experiment, tuple(seqs), data[-_DIGEST_BYTES:])
            if kind not in (_STORE, _EXPERIMENT) or str(found) != text.strip():
                raise ValueError
        except ValueError:
            raise UsageError("not the id of a snapshot", hint="copy it whole from snapshot.id", id=text) from None
        return found


def _spell(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _numbers(data: bytes) -> list[int]:
    found, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(number)
            number, shift = 0, 0
        elif shift > _LONGEST_BITS:
            raise ValueError
    if shift:
        raise ValueError
    return found
