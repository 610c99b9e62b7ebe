"""Scenes that play in an interpreter of their own: a fork of the one of pytest, where engines run threads, crashes."""

from __future__ import annotations

import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

__all__ = ["in_a_fork", "in_a_fresh_interpreter"]

_PATIENCE_S = 60.0
_T = TypeVar("_T")


class PlayedElsewhereError(AssertionError):
    """What went wrong in the other process; the text is its traceback."""


def in_a_fresh_interpreter(scene: Callable[..., _T], *arguments: Any) -> _T:
    """What the scene returns in a new process that shares nothing with this one, or the error that it ends with.

    Args:
        scene: A function at the top of a module, which the new process imports. It may fork.
        arguments: Go over as pickles, and so does the result.

    Raises:
        PlayedElsewhereError: the scene failed, died or said nothing for a minute.
    """
    return _answer(multiprocessing.get_context("spawn"), scene, arguments)  # type: ignore[no-any-return]


def in_a_fork(act: Callable[[], Any]) -> Any:
    """What a forked child of this very process gives back; for scenes, never in the process of pytest.

    Raises:
        PlayedElsewhereError: the child failed, died or said nothing for a minute.
    """
    return _answer(multiprocessing.get_context("fork"), act, ())


def _answer(context: Any, act: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(theirs, act, arguments))
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    try:
        ok, value = mine.recv() if mine.poll(_PATIENCE_S) else (False, "no answer")
    except EOFError:
        ok, value = False, "it died without a word"
    finally:
        mine.close()
        process.join(10)
        if process.exitcode is None:
            process.kill()
            process.join()
    if not ok:
        raise PlayedElsewhereError(f"{value}\nexit code {process.exitcode}")
    assert process.exitcode == 0, f"it answered, then ended with exit code {process.exitcode}"
    return value


def _play(answer: Connection, act: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        said = pickle.dumps((True, act(*arguments)))
    except BaseException:
        said = pickle.dumps((False, traceback.format_exc()))
    answer.send_bytes(said)
    answer.close()
