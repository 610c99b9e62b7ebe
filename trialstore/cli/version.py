"""`trialstore version`."""

from __future__ import annotations

import typer

from trialstore.cli.options import AsJson

__all__ = ["version"]

_PACKAGES = ("duckdb", "polars", "pyarrow", "fsspec")


def version(as_json: AsJson = False) -> None:
    """Print the version of trialstore, of its format, and of what it runs on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from trialstore import __version__
    from trialstore.journal.commit import FORMAT

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version_of(package)
        except PackageNotFoundError:
            versions[package] = None
    if as_json:
        from trialstore.cli.exact import dumps

        body = {"trialstore": __version__, "format": FORMAT, "python": platform.python_version(), **versions}
        typer.echo(dumps(body))
        return
    known = ", ".join(f"{package} {found or 'missing'}" for package, found in versions.items())
    typer.echo(f"trialstore {__version__} (format {FORMAT}, Python {platform.python_version()}, {known})")
