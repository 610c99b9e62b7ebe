"""Where a program comes from: user, host, command line, and the commit of its repository."""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from trialstore.model.times import now_text, parse_time

__all__ = ["capture", "remembered", "vcs_facts"]

_TIMEOUT_S = 10


def capture(command: Sequence[str] | None = None, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What is worth remembering of who runs what; never fails.

    Args:
        command: The program and its arguments, this process's by default. Secrets do not belong on a command line.
        folder: Of the program's repository; that of the program's file by default.

    Returns:
        ``user``, ``datetime`` (aware UTC), ``host``, ``python``, ``user_script`` (absolute where there is such a file),
        ``user_args``, and ``VCS`` as `vcs_facts` has it, None outside of a repository.

    Cost: outside of a repository nothing to speak of; in one two runs of git, and a third where files were changed.
    """
    words = [str(word) for word in (sys.argv if command is None else command)]
    script = words[0] if words else ""
    path = os.path.abspath(script) if script else ""
    exists = bool(path) and os.path.isfile(path)
    where = folder if folder is not None else (os.path.dirname(path) if exists else _here())
    return {
        "user": _user(),
        "datetime": parse_time(now_text()),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "user_script": _text(path if exists else script),
        "user_args": [_text(word) for word in words[1:]],
        "VCS": vcs_facts(where),
    }


def remembered() -> dict[str, Any]:
    """`capture` of this process: its repository as it was when the process first asked, and the time of now.

    Cost: that of `capture` once in a process; after that some microseconds.
    """
    return {**_captured(tuple(sys.argv), _here()), "datetime": parse_time(now_text())}


@functools.cache
def _captured(words: tuple[str, ...], folder: str) -> dict[str, Any]:
    return capture(words)


def vcs_facts(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What git says of a folder: None outside of a repository, and where there is no git.

    Returns:
        ``type`` (``git``), ``url`` of the remote ``origin`` without any password, ``HEAD_sha``, ``active_branch`` (None
        when none is), ``is_dirty``, and ``diff_sha``, the SHA-256 of the difference between the working tree and the
        commit. What git cannot say is None.
    """
    if not _in_repository(os.path.abspath(os.fspath(folder))):
        return None
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return None
    lines = status.decode("utf-8", "replace").splitlines()
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    is_dirty = any(not line.startswith("#") for line in lines)
    commit = told.get("branch.oid", "")
    has_commit = commit not in ("", "(initial)")
    branch = told.get("branch.head", "")
    return {
        "type": "git",
        "url": _without_password(_line(_git(folder, "config", "--get", "remote.origin.url"))),
        "HEAD_sha": commit if has_commit else None,
        "active_branch": None if branch in ("", "(detached)") else branch,
        "is_dirty": is_dirty,
        "diff_sha": _diff_sha(folder, is_dirty) if has_commit else None,
    }


def _diff_sha(folder: str | os.PathLike[str], is_dirty: bool) -> str | None:
    diff = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color") if is_dirty else b""
    return None if diff is None else hashlib.sha256(diff).hexdigest()


def _in_repository(folder: str) -> bool:
    while True:
        if os.path.exists(os.path.join(folder, ".git")):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


def _git(folder: str | os.PathLike[str], *words: str) -> bytes | None:
    """What git prints; None when it fails, or is not there, or takes too long."""
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A repository may name a program to watch its files; it is somebody else's, so that is not run.
    call = ["git", "-C", os.fspath(folder), "-c", "core.fsmonitor=false", *words]
    try:
        done = subprocess.run(call, capture_output=True, env=quiet, timeout=_TIMEOUT_S, check=False)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _line(output: bytes | None) -> str | None:
    text = "" if output is None else output.decode("utf-8", "replace").strip()
    return text or None


def _without_password(url: str | None) -> str | None:
    return None if url is None else re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@]*@", r"\1", url)


def _user() -> str:
    try:
        return _text(getpass.getuser())
    except (OSError, KeyError, ImportError):
        return "unknown"


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder was deleted
        return os.sep


def _text(word: str) -> str:
    """Valid Unicode, whatever bytes the system handed over."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
