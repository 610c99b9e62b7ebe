from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.script import Script, trial_body
from trialstore.blobs.memory import MemoryBlobs
from trialstore.journal.checkpoint import Checkpoints, decode_checkpoint, encode_checkpoint
from trialstore.journal.commit import FORMAT, decode_commit, encode_commands, encode_commit
from trialstore.journal.experiment import ExperimentState
from trialstore.model.errors import DamagedError, FormatTooNewError

COMMANDS: list[dict[str, Any]] = [
    {"session": "01A", "counter": 1, "at": "2026-01-01T00:00:00.000000Z", "kind": "claim", "opens": True},
    {
        "session": "01A",
        "counter": 2,
        "at": "2026-01-01T00:00:00.000001Z",
        "kind": "assign",
        "trial": 0,
        "runner": None,
        "note": "é\n\r\u2028",
    },
]
LINES = (
    b'{"session":"01A","counter":1,"at":"2026-01-01T00:00:00.000000Z","kind":"claim","opens":true}\n'
    b'{"session":"01A","counter":2,"at":"2026-01-01T00:00:00.000001Z","kind":"assign","trial":0,"runner":null,"note":"\xc3\xa9\\n\\r\xe2\x80\xa8"}\n'
)
HEADER = b'{"format":1,"seq":17,"previous":"89abcdef","crc32":"82c58558"}\n'
BLOB = "journal/experiment=a/00000000000000000017.jsonl"


def commit_bytes() -> bytes:
    return encode_commit(17, 0x89ABCDEF, encode_commands(COMMANDS))[0]


def test_the_bytes_are_pinned() -> None:
    assert encode_commands(COMMANDS) == LINES
    assert commit_bytes() == HEADER + LINES


def test_what_was_encoded_is_decoded() -> None:
    data, crc32 = encode_commit(17, 0x89ABCDEF, LINES)
    commit = decode_commit(data, BLOB)
    assert (commit.seq, commit.previous, commit.crc32, commit.commands) == (17, 0x89ABCDEF, crc32, COMMANDS)


def test_an_empty_commit_is_one() -> None:
    data, _ = encode_commit(0, 0, b"")
    assert decode_commit(data, BLOB).commands == []


def test_any_truncation_is_damage() -> None:
    data = commit_bytes()
    for length in range(len(data)):
        with pytest.raises(DamagedError) as caught:
            decode_commit(data[:length], BLOB)
        assert caught.value.facts["blob"] == BLOB


def test_any_flipped_byte_is_damage() -> None:
    data = commit_bytes()
    version = data.index(b"1")
    for place in range(len(data)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            torn = bytearray(data)
            torn[place] ^= mask
            expected = (DamagedError, FormatTooNewError) if place == version else DamagedError
            with pytest.raises(expected) as caught:
                decode_commit(bytes(torn), BLOB)
            assert caught.value.facts["blob"] == BLOB  # type: ignore[attr-defined]


@settings(max_examples=200)
@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: commit_bytes() + b" " + tail))
def test_any_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_commit(data, BLOB)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"1",
        b'"format"',
        b"{}",
        b'{"format":"1"}',
        b'{"format":null}',
        b'{"format":0,"seq":0,"previous":"00000000","crc32":"f4dbdf21"}',
        b'{"format":true,"seq":0,"previous":"00000000","crc32":"f4dbdf21"}',
        b'{"format":1.0,"seq":0,"previous":"00000000","crc32":"f4dbdf21"}',
        b'{"format":1,"seq":"0","previous":"00000000","crc32":"f4dbdf21"}',
        b'{"format":1}',
    ],
)
def test_a_header_that_is_none_is_damage(header: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_commit(header + b"\n", BLOB)


def test_a_commit_of_another_place_or_history_is_damage() -> None:
    state = ExperimentState()
    Script(state).do("register", trials=[trial_body()])
    for seq, previous in ((1, 0), (2, state.crc32), (0, 0), (1, state.crc32 ^ 1)):
        data, _ = encode_commit(seq, previous, b"")
        with pytest.raises(DamagedError, match="does not continue the journal") as caught:
            state.fold(decode_commit(data, BLOB), BLOB)
        assert caught.value.facts["blob"] == BLOB
    assert state.seq == 0


def test_a_newer_format_says_to_upgrade() -> None:
    data = commit_bytes().replace(b'"format":1', b'"format":%d' % (FORMAT + 1)).replace(b'"seq"', b'"number"')
    with pytest.raises(FormatTooNewError, match="hint: upgrade trialstore") as caught:
        decode_commit(data, BLOB)
    assert caught.value.facts == {"blob": BLOB, "format": FORMAT + 1}


def test_a_command_that_is_not_known_stops_the_fold_unless_it_is_optional() -> None:
    state = ExperimentState()
    script = Script(state)
    assert script.do("sparkle", optional=True).reason is None
    with pytest.raises(FormatTooNewError, match="does not know") as caught:
        script.do("sparkle")
    assert caught.value.facts["kind"] == "sparkle"
    assert state.seq == 0


# Checkpoints


def small_state() -> ExperimentState:
    script = Script(ExperimentState())
    script.do("register", trials=[trial_body("a", seed=1), trial_body("b")])
    script.do("claim", worker="w")
    script.do("rows", table="metrics", rows=[[0, 1, "loss", 1, "2026-01-01T00:00:00.000000Z", {"$float": "nan"}]])
    script.do("document", name="d", value={"x": [1, None]}, revision=0)
    return script.machine


def test_a_checkpoint_gives_the_state_back() -> None:
    state = small_state()
    copy = decode_checkpoint(encode_checkpoint(state), ExperimentState(), BLOB)
    assert (copy.seq, copy.crc32) == (state.seq, state.crc32)
    assert copy.dump() == state.dump()
    assert encode_checkpoint(copy) == encode_checkpoint(state)


def test_a_checkpoint_is_gzip_over_json_lines() -> None:
    head, *lines = gzip.decompress(encode_checkpoint(small_state())).splitlines()
    assert head.startswith(b'{"format":1,"seq":3,"crc32":"')
    assert len(lines) == 1 + 2 + 1 + 3  # the head, the trials, a metric, and three steps of status


def test_any_truncation_of_a_checkpoint_is_damage() -> None:
    data = encode_checkpoint(small_state())
    for length in range(len(data)):
        with pytest.raises(DamagedError) as caught:
            decode_checkpoint(data[:length], ExperimentState(), BLOB)
        assert caught.value.facts["blob"] == BLOB


def test_a_flipped_byte_of_a_checkpoint_never_gives_another_state() -> None:
    state = small_state()
    data = encode_checkpoint(state)
    found = 0
    for place in range(len(data)):
        for mask in (1, 8, 64, 255):
            torn = bytearray(data)
            torn[place] ^= mask
            try:
                copy = decode_checkpoint(bytes(torn), ExperimentState(), BLOB)
            except DamagedError:
                found += 1
            else:
                # Some bits of gzip's own header, and those that fill its last byte, say nothing of the content.
                assert (copy.seq, copy.crc32, copy.dump()) == (state.seq, state.crc32, state.dump())
    assert found > 4 * (len(data) - 20)


def test_damage_inside_the_compression_is_found_too() -> None:
    whole = gzip.decompress(encode_checkpoint(small_state()))
    assert b'next_number":2' in whole
    head, _, lines = whole.partition(b"\n")
    for torn in (
        head,
        head + b"\n",
        head + b"\n" + lines[:-5],
        b"\n" + lines,
        b"[]\n" + lines,
        b"{}\n",
        whole.replace(b'next_number":2', b'next_number":3'),
    ):
        with pytest.raises(DamagedError):
            decode_checkpoint(gzip.compress(torn), ExperimentState(), BLOB)


def test_a_checkpoint_of_a_newer_format_says_to_upgrade() -> None:
    text = gzip.decompress(encode_checkpoint(small_state())).replace(b'"format":1', b'"format":2')
    with pytest.raises(FormatTooNewError, match="hint: upgrade trialstore"):
        decode_checkpoint(gzip.compress(text), ExperimentState(), BLOB)


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    blobs = MemoryBlobs(f"checkpoints-{tmp_path}")
    script = Script(ExperimentState())
    checkpoints = Checkpoints(blobs, "checkpoints/a")
    for _ in range(3):
        script.do("register", trials=[trial_body()])
        newest = checkpoints.write(script.machine)
    blobs.write(newest, blobs.read(newest)[:-4])
    assert checkpoints.load(ExperimentState).seq == 1
    assert newest in caplog.text
    assert checkpoints.load(ExperimentState, until=0).seq == 0
    for key in list(checkpoints.keys()):
        blobs.write(key, b"?")
    assert checkpoints.load(ExperimentState).seq == -1


def test_the_newest_checkpoints_are_kept_and_one_that_grows_old(tmp_path: Any) -> None:
    checkpoints = Checkpoints(MemoryBlobs(f"kept-{tmp_path}"), "checkpoints/a")
    script = Script(ExperimentState())
    written = []
    for _ in range(6):
        script.do("register", trials=[trial_body()])
        written.append(checkpoints.write(script.machine))
    assert checkpoints.keys() == [written[0], *written[-3:]]  # the first one grows old, to truncate the journal by
