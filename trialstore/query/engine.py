"""DuckDB over a snapshot: one database in memory, whose views are made when a query first names them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb

from trialstore.model.errors import QueryError, UnsupportedError, UsageError
from trialstore.query.inherited import watch
from trialstore.query.repeats import REPEATS, repeats_view
from trialstore.query.result import Result
from trialstore.query.sources import sources_of
from trialstore.query.views import FileSource, literal, params_view, quoted, table_view
from trialstore.query.workspace import Workspace
from trialstore.tables.schema import ROW_SCHEMAS, STRUCTS, TRIAL_COLUMNS

if TYPE_CHECKING:
    from trialstore.query.snapshot import Snapshot

__all__ = ["VIEWS", "Engine"]

VIEWS = ("trials", "params", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments")
"""The tables that a query may name. `repeats` reads `trials`, which comes before it."""

_INTROSPECTION = frozenset({"show", "describe", "summarize", "pragma", "information_schema", "duckdb_views"})
_WORD = re.compile(r"\b\w+\b(?!\s*\.)")
"""A word that may name a table: in ``params.lr`` a struct is named, not the table ``params``."""

_RESERVED = frozenset({"", "memory", "temp", "system", "main", "pg_catalog", "information_schema", *VIEWS})


class Engine:
    """The DuckDB database of one snapshot.

    Each query runs on a cursor of its own, so threads do not wait for one another. May be used in a forked child.

    Args:
        snapshot: What is read.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._connect()
        watch(self)

    def _connect(self) -> None:
        self._catalogs: dict[str, _Catalog] = {"": _Catalog(self._snapshot, "")}
        self._lock = threading.Lock()
        self._connection = duckdb.connect(
            config={"autoinstall_known_extensions": False, "parquet_metadata_cache": True, "TimeZone": "UTC"}
        )
        self._filesystems: dict[str, Any] = {}
        self._attached: dict[str, Snapshot] = {}
        self._process = os.getpid()
        self._reach(self._snapshot)

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            attached = self._attached
            self._connect()
            for name, other in attached.items():
                self.attach(other, name)

    def leave_to_parent(self) -> object:
        """Give what the parent uses, in a forked child, which connects for itself when it first runs a query."""
        return self._connection, self._catalogs

    def run(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Result:
        """The result of a query, which has started when this returns."""
        self._enter_process()
        words = {word.lower() for word in _WORD.findall(query)}
        try:
            with self._lock:
                for catalog in self._catalogs.values():
                    catalog.prepare(self._connection, words)
            return Result(self._cursor, query, parameters)
        except duckdb.Error as error:
            raise QueryError(f"{error}\n\n{self._tables()}", query=query) from None

    def attach(self, other: Snapshot, name: str) -> None:
        """Add another snapshot under a name; see `Snapshot.attach`."""
        if not isinstance(name, str) or name.lower() in _RESERVED or "\0" in name:
            raise UsageError("a store cannot be attached under this name", hint="choose another word", name=name)
        self._enter_process()
        with self._lock:
            known = self._catalogs.get(name)
            if known is not None and known.snapshot is other:
                return
            self._reach(other)
            if known is not None:
                self._connection.execute(f"DETACH {quoted(name)}")
                known.workspace.close()
            self._connection.execute(f"ATTACH ':memory:' AS {quoted(name)}")
            self._catalogs[name] = _Catalog(other, f"{quoted(name)}.")
            self._attached[name] = other

    def close(self) -> None:
        """Close the database and remove its files."""
        if self._process != os.getpid():
            return
        self._connection.close()
        for catalog in self._catalogs.values():
            catalog.workspace.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        self._enter_process()
        return self._connection.cursor()

    def _reach(self, snapshot: Snapshot) -> None:
        """Let DuckDB read the snapshot's files."""
        filesystem = snapshot.blobs.filesystem
        if filesystem is None:
            return
        protocol = str(filesystem.protocol)
        known = self._filesystems.get(protocol)
        if known is None:
            self._connection.register_filesystem(filesystem)
            self._filesystems[protocol] = filesystem
        elif known.storage_options != filesystem.storage_options:
            raise UnsupportedError(
                "two stores on the same kind of storage must have the same storage options to be queried together",
                hint="open both with the same storage options, or query them one by one",
                url=snapshot.blobs.url,
            )

    def _tables(self) -> str:
        lines = ["tables and columns here:"]
        for name, catalog in self._catalogs.items():
            prefix = f"{name}." if name else ""
            lines += [f"  {prefix}{view}({', '.join(catalog.columns(view))})" for view in VIEWS]
        return "\n".join(lines)


class _Catalog:
    """The views of one snapshot in one catalog of the database."""

    def __init__(self, snapshot: Snapshot, prefix: str) -> None:
        self.snapshot = snapshot
        self.workspace = Workspace()
        self._prefix = prefix
        self._made: set[str] = set()
        self._files: dict[str, list[FileSource]] = {}

    def prepare(self, connection: duckdb.DuckDBPyConnection, words: set[str]) -> None:
        """Make the views that these words name."""
        everything = not words.isdisjoint(_INTROSPECTION)
        if "repeats" in words:
            words = words | {"trials"}
        for view in VIEWS:
            if view not in self._made and (everything or view in words):
                connection.execute(f"CREATE VIEW {self._prefix}{view} AS {self._query(view)}")
                self._made.add(view)

    def columns(self, view: str) -> list[str]:
        """The columns of a view, with the fields of its structs."""
        if view == "params":
            return ["experiment", "version", "trial", "name", "value", "text", "type"]
        if view == "repeats":
            return list(REPEATS)
        if view == "experiments":
            return ["experiment", "version", "id", "name", "created_at", "trials", "…", "metadata"]
        names = list(TRIAL_COLUMNS if view == "trials" else ROW_SCHEMAS[view].names)
        structs = self.snapshot.structs if view == "trials" else {}
        return ["experiment", "version", *(_spelled(name, structs.get(name)) for name in names)]

    def _query(self, view: str) -> str:
        experiments = self.snapshot.experiments
        if view == "experiments":
            return f"SELECT * FROM read_parquet({literal(self.workspace.write_experiments(experiments))})"
        if view == "params":
            return params_view(experiments, self._sources("trials"))
        structs = self.snapshot.structs
        if view == "repeats":
            exact = any(file.exact for file in self._sources("trials"))
            return repeats_view(experiments, structs, f"{self._prefix}trials", exact=exact)
        schema_file = self.workspace.write_schema(view, structs)
        return table_view(view, experiments, schema_file, self._sources(view), structs)

    def _sources(self, table: str) -> list[FileSource]:
        if table not in self._files:
            blobs = self.snapshot.blobs
            files = []
            for source in sources_of(self.snapshot.experiments, table):
                if source.part is not None:
                    path = blobs.engine_path(source.part.blob_key(source.experiment.key))
                else:
                    assert source.live is not None
                    path = self.workspace.write_live(table, source.experiment, source.live)
                params = source.structs.get("params", {})
                files.append(FileSource(path, params, source.superseded, source.exact, source.repeated))
            self._files[table] = files
        return self._files[table]


def _spelled(name: str, fields: Mapping[str, str] | None) -> str:
    if name not in STRUCTS or not fields:
        return name
    shown = list(fields)[:50]
    return f"{name}: {{{', '.join(shown)}{', …' if len(fields) > len(shown) else ''}}}"
