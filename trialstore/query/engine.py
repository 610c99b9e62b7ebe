"""DuckDB over a snapshot: one database in memory, whose views are made when a query first names them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from trialstore.model.errors import QueryError, UnsupportedError, UsageError
from trialstore.query.inherited import watch
from trialstore.query.profiles import PROFILE_COLUMNS, profiles_view
from trialstore.query.reading import ReadingFileSystem
from trialstore.query.repeats import REPEATS, repeats_view
from trialstore.query.result import Result
from trialstore.query.sources import sources_of
from trialstore.query.statements import check_statements
from trialstore.query.views import FileSource, literal, params_view, quoted, table_view
from trialstore.query.workspace import Workspace
from trialstore.tables.schema import ROW_SCHEMAS, STRUCTS, TRIAL_COLUMNS

if TYPE_CHECKING:
    from trialstore.query.snapshot import Snapshot

__all__ = ["VIEWS", "Engine"]

VIEWS = ("trials", "params", "profiles", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments")
"""The tables that a query may name. `profiles` and `repeats` read `trials`, which comes before them."""

_INTROSPECTION = frozenset({"show", "describe", "summarize", "pragma", "information_schema", "duckdb_views"})
_WORD = re.compile(r"\b\w+\b(?!\s*\.)")
"""A word that may name a table: in ``params.lr`` a struct is named, not the table ``params``."""

_OF_TRIALS = frozenset({"profiles", "repeats"})
_RESERVED = frozenset({"", "memory", "temp", "system", "main", "pg_catalog", "information_schema", *VIEWS})


class Engine:
    """The DuckDB database of one snapshot.

    Guarantees: a query reads the parts of the snapshot and of those attached to it, and nothing else; it writes no file
    but its own temporary ones, loads no extension, and changes no setting. Unless the caller asks for `external`.

    Each query runs on a cursor of its own, so threads do not wait for one another. May be used in a forked child.

    Args:
        snapshot: What is read.
        external: Whether queries may reach whatever this process may: files, extensions, settings.
    """

    def __init__(self, snapshot: Snapshot, *, external: bool = False) -> None:
        self._external = external
        self._begin({"": snapshot})
        watch(self)

    def _begin(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._catalogs: dict[str, _Catalog] = {}
        self._filesystems: dict[str, Any] = {}
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()
        for name, snapshot in snapshots.items():
            self._add(snapshot, name)

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            self._begin({name: catalog.snapshot for name, catalog in self._catalogs.items()})

    def leave_to_parent(self) -> object:
        """Give what the parent uses, in a forked child, which connects for itself when it first runs a query."""
        return self._connection, self._catalogs

    def run(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Result:
        """The result of a query, which has started when this returns."""
        words = {word.lower() for word in _WORD.findall(query)}
        try:
            if not self._external:
                check_statements(query)
            return Result(partial(self._cursor, words), query, parameters)
        except duckdb.PermissionException as error:
            hint = None if self._external else "pass external=True to let a query reach files and extensions"
            raise QueryError(str(error), hint=hint, query=query) from None
        except duckdb.Error as error:
            raise QueryError(f"{error}\n\n{self._tables()}", query=query) from None
        except (pa.ArrowException, OSError) as error:  # of the first rows, which come through Arrow
            raise QueryError(str(error), query=query) from None

    def attach(self, other: Snapshot, name: str) -> None:
        """Add another snapshot under a name; see `Snapshot.attach`."""
        if not isinstance(name, str) or name.lower() in _RESERVED or "\0" in name:
            raise UsageError("a store cannot be attached under this name", hint="choose another word", name=name)
        self._enter_process()
        with self._lock:
            known = self._catalogs.get(name)
            if known is not None and known.snapshot is other:
                return
            self._add(other, name)
            if known is not None:
                known.workspace.close()

    def close(self) -> None:
        """Close the database and remove its files."""
        if self._process != os.getpid():
            return
        if self._connection is not None:
            self._connection.close()
        for catalog in self._catalogs.values():
            catalog.workspace.close()

    def _cursor(self, words: set[str]) -> duckdb.DuckDBPyConnection:
        """A connection of its own for a query that has these words."""
        self._enter_process()
        with self._lock:
            connection = self._opened()
            for catalog in self._catalogs.values():
                catalog.prepare(connection, words)
            return connection.cursor()

    def _add(self, snapshot: Snapshot, name: str) -> None:
        filesystem = snapshot.blobs.filesystem
        if filesystem is not None:
            known = self._filesystems.setdefault(str(filesystem.protocol), filesystem)
            if known is not filesystem and known.storage_options != filesystem.storage_options:
                raise UnsupportedError(
                    "two stores on the same kind of storage must have the same storage options to be queried together",
                    hint="open both with the same storage options, or query them one by one",
                    url=snapshot.blobs.url,
                )
        self._catalogs[name] = _Catalog(snapshot, f"{quoted(name)}." if name else "")
        # What may be read is fixed when a database is opened. Results that are being read keep the one they have.
        self._connection = None

    def _opened(self) -> duckdb.DuckDBPyConnection:
        """The database, which holds views of all snapshots there are now."""
        if self._connection is None:
            self._connection = self._open()
            for name, catalog in self._catalogs.items():
                if name:
                    self._connection.execute(f"ATTACH ':memory:' AS {quoted(name)}")
                catalog.made.clear()
        return self._connection

    def _open(self) -> duckdb.DuckDBPyConnection:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "parquet_metadata_cache": True,
            "python_enable_replacements": False,
            "temp_directory": f"{self._catalogs[''].workspace.folder}/spilled",
            "TimeZone": "UTC",
        }
        if not self._external:
            settings["allow_persistent_secrets"] = False
        connection = duckdb.connect(config=settings)
        for filesystem in self._filesystems.values():
            connection.register_filesystem(filesystem if self._external else ReadingFileSystem(filesystem))
        if not self._external:
            files = [path for catalog in self._catalogs.values() for path in catalog.paths()]
            folders = [f"{catalog.workspace.folder}/" for catalog in self._catalogs.values()]
            for setting in (
                f"allowed_paths = [{', '.join(map(literal, files))}]",
                f"allowed_directories = [{', '.join(map(literal, folders))}]",
                "autoload_known_extensions = false",
                "enable_external_access = false",
                "lock_configuration = true",
            ):
                connection.execute(f"SET {setting}")
        return connection

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
        self.made: set[str] = set()
        self._prefix = prefix
        self._files: dict[str, list[FileSource]] = {}

    def prepare(self, connection: duckdb.DuckDBPyConnection, words: set[str]) -> None:
        """Make the views that these words name."""
        everything = not words.isdisjoint(_INTROSPECTION)
        if not words.isdisjoint(_OF_TRIALS):
            words = words | {"trials"}
        for view in VIEWS:
            if view not in self.made and (everything or view in words):
                connection.execute(f"CREATE VIEW {self._prefix}{view} AS {self._query(view)}")
                self.made.add(view)

    def paths(self) -> list[str]:
        """The files of all parts, in each spelling that DuckDB uses."""
        blobs = self.snapshot.blobs
        paths = [
            blobs.engine_path(part.blob_key(experiment.key))
            for experiment in self.snapshot.experiments
            for part in experiment.parts
        ]
        filesystem = blobs.filesystem
        if filesystem is not None:
            # It looks a file up before it opens it, and then has the spelling that the listing gave.
            paths += [filesystem.unstrip_protocol(filesystem._strip_protocol(path)) for path in paths]
        return paths

    def columns(self, view: str) -> list[str]:
        """The columns of a view, with the fields of its structs."""
        if view == "params":
            return ["experiment", "version", "trial", "name", "value", "text", "type"]
        if view == "repeats":
            return list(REPEATS)
        if view == "profiles":
            return list(PROFILE_COLUMNS)
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
        if view == "profiles":
            return profiles_view(f"{self._prefix}trials")
        if view == "repeats":
            exact = any(file.exact for file in self._sources("trials"))
            return repeats_view(experiments, structs, f"{self._prefix}trials", exact=exact)
        schema_file = self.workspace.write_schema(view, structs)
        return table_view(view, experiments, schema_file, self._sources(view), structs)

    def _sources(self, table: str) -> list[FileSource]:
        if table not in self._files:
            blobs = self.snapshot.blobs
            files: list[FileSource] = []
            for source in sources_of(self.snapshot.experiments, table):
                if source.part is not None:
                    path = blobs.engine_path(source.part.blob_key(source.experiment.key))
                else:
                    assert source.live is not None
                    path = self.workspace.write_live(table, source.experiment, source.live, len(files))
                params = source.structs.get("params", {})
                files.append(FileSource(path, params, source.superseded, source.exact, source.repeated))
            self._files[table] = files
        return self._files[table]


def _spelled(name: str, fields: Mapping[str, str] | None) -> str:
    if name not in STRUCTS or not fields:
        return name
    shown = list(fields)[:50]
    return f"{name}: {{{', '.join(shown)}{', …' if len(fields) > len(shown) else ''}}}"
