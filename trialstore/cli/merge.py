"""`trialstore merge`, and `dump` and `load`, which are the same to and from a store of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store, parse_storage_options

if TYPE_CHECKING:
    from trialstore.merging import Merged, Resolve

__all__ = ["dump", "load", "merge"]

Experiments = Annotated[
    list[str] | None,
    typer.Option(
        "--experiment", "-e", show_default=False, help="Name of an experiment, again for more; all by default."
    ),
]
ResolveWith = Annotated[
    str | None,
    typer.Option(
        "--resolve",
        "-r",
        show_default=False,
        help="What becomes of experiments that are there: ignore, overwrite (replace them), bump (add a version).",
    ),
]


def merge(
    source: Url,
    target: Annotated[
        str, typer.Argument(show_default=False, help="The store to copy into; created if there is none.")
    ],
    experiment: Experiments = None,
    version: ExperimentVersion = None,
    resolve: ResolveWith = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Copy experiments of one store into another, with all that they hold.

    Example: trialstore merge laptop-results s3://bucket/results --resolve bump
    """
    _merge(source, target, experiment, version, resolve, storage_option, as_json)


def dump(
    url: Url,
    out: Annotated[str, typer.Argument(show_default=False, help="Where the dump goes: a folder or an address.")],
    experiment: Experiments = None,
    version: ExperimentVersion = None,
    overwrite: Annotated[bool, typer.Option("--force", "-f", help="Replace what the dump has already.")] = False,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Copy experiments into a store of its own, to keep or to hand on; `load` takes them back.

    Example: trialstore dump results backup -e tune
    """
    _merge(url, out, experiment, version, "overwrite" if overwrite else None, storage_option, as_json)


def load(
    url: Annotated[str, typer.Argument(show_default=False, help="The store to load into; created if there is none.")],
    source: Annotated[str, typer.Argument(show_default=False, help="A dump, or any other store.")],
    experiment: Experiments = None,
    version: ExperimentVersion = None,
    resolve: ResolveWith = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Take experiments of a dump into a store.

    Example: trialstore load results backup --resolve ignore
    """
    _merge(source, url, experiment, version, resolve, storage_option, as_json)


def _merge(
    source: str,
    target: str,
    names: list[str] | None,
    version: int | None,
    resolve: str | None,
    storage_option: list[str] | None,
    as_json: bool,
) -> None:
    from trialstore.cli.console import complaints
    from trialstore.merging import RESOLVE, merge
    from trialstore.render.table import plain_text
    from trialstore.store import open as open_at

    if resolve is not None and resolve not in RESOLVE:
        raise typer.BadParameter(f"{resolve!r} is not one of {', '.join(RESOLVE)}", param_hint="--resolve")
    wanted: Resolve | None = resolve  # type: ignore[assignment]

    def tell(step: str) -> None:
        complaints().print(plain_text(step))

    from_store = open_store(source, storage_option)
    with open_at(target, storage_options=parse_storage_options(target, storage_option)) as into:
        done = merge(from_store, into, names or None, version=version, resolve=wanted, progress=tell)
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps([_facts(one) for one in done]))
        return
    for one in done:
        bumped = f" as version {one.new_version}" if one.new_version != one.version else ""
        typer.echo(f"{one.name} version {one.version}: {one.action}{bumped}, {one.trials:,} trials")


def _facts(one: Merged) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("name", "version", "action", "new_version", "trials")}
