"""Which SQL a store runs by itself: whatever reads its tables, and nothing that writes or runs something else.

DuckDB itself keeps a query away from all files but the store's parts (`trialstore.query.engine` tells it which), and
from extensions and settings. What is left is a statement that writes over one of those parts, so nothing that can write
a file is run at all.
"""

from __future__ import annotations

import re

import duckdb

from trialstore.model.errors import QueryError

__all__ = ["check_statements"]

_KIND = duckdb.StatementType
_ALLOWED = frozenset(
    {_KIND.SELECT, _KIND.MULTI, _KIND.SET, _KIND.VARIABLE_SET, _KIND.PRAGMA, _KIND.TRANSACTION, _KIND.ANALYZE}
    | {_KIND.CREATE, _KIND.INSERT, _KIND.UPDATE, _KIND.DELETE, _KIND.MERGE_INTO, _KIND.ALTER, _KIND.DROP}
)
"""Statements that read, or that change tables in memory; the configuration is locked, so SET and PRAGMA change none."""

_RUNS_TEXT = frozenset({b"query", b"json_execute_serialized_sql"})
"""Functions that run SQL in a text, which is not looked at here. The second runs anything."""

_EXPLAIN = re.compile(r"\s*explain\b(?:\s+analyze\b|\s*\(\s*(?:analyze|format)\b[^()]*\))?", re.IGNORECASE)
_WORD = re.compile(rb'"(?:[^"]|"")*"|\w+')
_HINT = "pass external=True to let a query reach files and extensions"


def check_statements(query: str) -> None:
    """Return when a query may run beside locked settings and closed file access.

    Args:
        query: SQL text, one statement or several.

    Raises:
        QueryError: a statement writes files, opens databases, loads extensions, or hides what it does.
        duckdb.Error: it is no SQL.
    """
    for statement in duckdb.extract_statements(query):
        _check_kind(statement)
    if re.search("copy|query|json_execute", query, re.IGNORECASE):
        _check_words(query)


def _check_kind(statement: duckdb.Statement) -> None:
    try:
        kind = statement.type
    except ValueError:  # a kind that the Python package has no name for
        kind = _KIND.INVALID
    if kind == _KIND.EXPLAIN:
        explain = _EXPLAIN.match(statement.query)
        inner = statement.query[explain.end() :] if explain is not None else ""
        try:
            explained = duckdb.extract_statements(inner)
        except duckdb.Error:
            raise QueryError("cannot see what is explained", hint="write EXPLAIN without comments") from None
        for one in explained:
            _check_kind(one)
    elif kind not in _ALLOWED:
        raise QueryError("a query of a store may not run this statement", hint=_HINT, kind=kind.name)


def _check_words(query: str) -> None:
    """Refuse what can stand inside of a harmless statement: COPY in a WITH clause, and functions that run text."""
    data = query.encode()
    tokens = [(at, kind) for at, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    words = [_word(data, at) if kind in _NAMES else data[at : at + 1] for at, kind in tokens]
    for index, word in enumerate(words):
        before, after = words[index - 1] if index else b"", words[index + 1] if index + 1 < len(words) else b""
        if word == b"copy" and before != b"." and tokens[index][1] == duckdb.token_type.keyword:
            raise QueryError(
                "a query of a store may not copy to or from files",
                hint=f'write "copy" in double quotes where it is a name; {_HINT}',
            )
        if word in _RUNS_TEXT and (after == b"(" or word != b"query"):
            raise QueryError("a query of a store may not run SQL in a text", hint=_HINT, function=word.decode())


_NAMES = frozenset({duckdb.token_type.keyword, duckdb.token_type.identifier})


def _word(data: bytes, at: int) -> bytes:
    found = _WORD.match(data, at)
    if found is None:
        return b""
    word = found.group()
    return (word[1:-1].replace(b'""', b'"') if word[:1] == b'"' else word).lower()
