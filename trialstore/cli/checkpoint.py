"""`trialstore checkpoint`."""

from __future__ import annotations

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store
from trialstore.cli.upkeep import OneExperiment, chosen, telling

__all__ = ["checkpoint"]


def checkpoint(
    url: Url,
    experiment: OneExperiment = None,
    version: ExperimentVersion = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Write down where the experiments stand, so that opening them reads little.

    Workers do so by themselves now and then.

    Example: trialstore checkpoint results
    """
    with open_store(url, storage_option, writable=True) as store, telling("writing checkpoints"):
        written = chosen(store, experiment, version).checkpoint()
    keys = [written] if isinstance(written, str) else written
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(keys))
        return
    from trialstore.cli.render import output, printable

    for key in keys:
        output().print(printable(key), soft_wrap=True)
