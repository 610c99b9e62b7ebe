"""The bytes of a commit: a header line, then one command a line, all JSON.

The header is ``{"format":1,"seq":17,"previous":"89abcdef","crc32":"01234567"}``. ``crc32`` is the CRC-32 of
the sequence number in decimal and the command lines, started from the previous commit's ``crc32``: so a file
that is torn, altered, misplaced, or belongs to another history is found out when it is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from trialstore.journal.shapes import command_problem
from trialstore.model.errors import DamagedError, FormatTooNewError

__all__ = [
    "FORMAT",
    "MALFORMED",
    "Command",
    "Commit",
    "are_commands",
    "decode_commands",
    "decode_commit",
    "encode_commands",
    "encode_commit",
]

FORMAT = 1
"""Version of the format of commits and checkpoints that this code reads and writes."""

MALFORMED = "its checksum is right: whoever wrote it did not follow docs/FORMAT.md"

Command = dict[str, Any]
"""A decoded command line: session, counter, at, kind, and what the kind needs."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One decoded commit.

    Attributes:
        seq: Its sequence number.
        previous: CRC-32 of the commit before it, 0 before the first.
        crc32: Its own.
        commands: In the order they take effect.
        serving: Whether who wrote it goes on to commit what others post.
    """

    seq: int
    previous: int
    crc32: int
    commands: list[Command]
    serving: bool = False


def encode_commands(commands: Sequence[Command]) -> bytes:
    """Command lines; bodies are in the plain JSON form of `trialstore.model.codec`."""
    return b"".join(to_json(command) + b"\n" for command in commands)


def encode_commit(seq: int, previous: int, lines: bytes, serving: bool = False) -> tuple[bytes, int]:
    """The bytes of a commit, and its CRC-32."""
    crc32 = _checksum(seq, previous, lines)
    return _header(seq, previous, crc32, serving) + lines, crc32


def decode_commit(data: bytes, blob: str) -> Commit:
    """The commit in a blob.

    Raises:
        DamagedError: the bytes are not what was written; the blob is named.
        FormatTooNewError: a newer trialstore wrote it.
    """
    head, _, lines = data.partition(b"\n")
    try:
        header = from_json(head)
        version = header["format"]
        if type(version) is int and version > FORMAT:
            raise FormatTooNewError(
                "commit was written by a newer trialstore", hint="upgrade trialstore", blob=blob, format=version
            )
        seq, previous, crc32 = header["seq"], int(header["previous"], 16), int(header["crc32"], 16)
        # The checksum covers the lines; the header must be to the byte what says this.
        serving = header.get("serving", False) is True
        if head + b"\n" != _header(seq, previous, crc32, serving):
            raise DamagedError("commit has a header that was altered", blob=blob, size_bytes=len(data))
    except (ValueError, KeyError, TypeError):
        raise DamagedError("commit has no header", blob=blob, size_bytes=len(data)) from None
    if crc32 != _checksum(seq, previous, lines):
        raise DamagedError(
            "commit does not match its checksum",
            hint="restore the blob from a copy of the store",
            blob=blob,
            size_bytes=len(data),
        )
    try:
        commands = decode_commands(lines)
    except ValueError as error:
        raise DamagedError("commit cannot be read", blob=blob, reason=str(error)) from None
    for command in commands:
        problem = command_problem(command)
        if problem is not None:
            raise DamagedError(
                "a command is not as the format says", hint=MALFORMED, blob=blob, problem=problem, command=command
            )
    return Commit(seq, previous, crc32, commands, serving)


def decode_commands(lines: bytes) -> list[Command]:
    """The commands that `encode_commands` wrote."""
    return [from_json(line) for line in lines.splitlines()]


def are_commands(lines: bytes) -> bool:
    """Whether these are whole command lines that may stand in a commit."""
    try:
        return lines.endswith(b"\n") and all(command_problem(command) is None for command in decode_commands(lines))
    except ValueError:
        return False


def _header(seq: int, previous: int, crc32: int, serving: bool) -> bytes:
    more = b',"serving":true' if serving else b""
    return b'{"format":%d,"seq":%d,"previous":"%08x","crc32":"%08x"%b}\n' % (FORMAT, seq, previous, crc32, more)


def _checksum(seq: int, previous: int, lines: bytes) -> int:
    return zlib.crc32(lines, zlib.crc32(b"%d" % seq, previous))
