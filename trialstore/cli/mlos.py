"""`trialstore import mlos` and `trialstore export mlos`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.options import AsJson, StorageOptions, Url, open_store, parse_storage_options

if TYPE_CHECKING:
    from datetime import tzinfo

    from trialstore.integrations.mlos_bench.migration.verifying import Migrated

__all__ = ["export_mlos", "import_mlos"]

Database = Annotated[
    str,
    typer.Argument(
        show_default=False,
        help="A file of SQLite (or DuckDB, .duckdb), or an address such as postgresql+psycopg://user@host/name.",
    ),
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--experiment", show_default=False, help="Only this one; may be repeated. All if not given."),
]


def import_mlos(
    database: Database,
    url: Url,
    experiment: Chosen = None,
    zone: Annotated[
        str,
        typer.Option(
            "--zone",
            help="Zone of the times that a database has without one: PostgreSQL and DuckDB wrote them in their own.",
        ),
    ] = "UTC",
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Take experiments of an mlos_bench database in, which is only read, and compare counts and checksums.

    The store is made where there is none. Started again, after it was stopped or because the database has got new
    trials, it adds what is missing.

    Example: trialstore import mlos mlos_bench.sqlite results
    """
    chosen_zone = _zone(zone)
    from trialstore.cli.console import bars
    from trialstore.integrations.mlos_bench import import_database
    from trialstore.store import open as open_at

    options = parse_storage_options(url, storage_option)
    with open_at(url, storage_options=options) as store, bars() as tell:
        done = import_database(store, database, experiments=experiment, zone=chosen_zone, progress=tell)
    _print(done, as_json)


def export_mlos(
    url: Url,
    database: Database,
    experiment: Chosen = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Write experiments into a database as mlos_bench's own storage would have, and compare counts and checksums.

    The tables are made where there are none. Started again, it adds what is missing.

    Example: trialstore export mlos results mlos_bench.sqlite
    """
    from trialstore.cli.console import bars
    from trialstore.integrations.mlos_bench import export_database

    with open_store(url, storage_option) as store, bars() as tell:
        done = export_database(store, database, experiments=experiment, progress=tell)
    _print(done, as_json)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is no zone, such as Europe/Berlin", param_hint="--zone") from None


def _print(done: list[Migrated], as_json: bool) -> None:
    if as_json:
        from trialstore.cli.exact import dumps

        facts = [
            {
                "experiment": one.experiment,
                "tables": {name: {"rows": t.rows, "checksum": t.checksum} for name, t in one.tables.items()},
                "kept_configurations": one.kept_configurations,
                "joined_samples": one.joined_samples,
            }
            for one in done
        ]
        typer.echo(dumps(facts))
        return
    from trialstore.cli.console import output
    from trialstore.render.page import Column
    from trialstore.render.table import table

    console = output()
    if not done:
        console.print("there are no experiments")
        return
    rows = [(one.experiment, name, tally) for one in done for name, tally in one.tables.items()]
    columns = [
        Column("experiment", [experiment for experiment, _, _ in rows]),
        Column("table", [name for _, name, _ in rows]),
        Column("rows", [str(tally.rows) for _, _, tally in rows], number=True),
        Column("checksum, on both sides", [tally.checksum for _, _, tally in rows]),
    ]
    console.print(table(columns, console.width)[0])
