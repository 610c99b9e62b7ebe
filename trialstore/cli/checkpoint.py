"""`trialstore checkpoint`."""

from __future__ import annotations

import typer

from trialstore.cli.upkeep import Target, on_target

__all__ = ["checkpoint"]


@on_target
def checkpoint(target: Target) -> None:
    """Write down where the experiments stand, so that opening them reads little.

    Workers do so by themselves now and then.

    Example: trialstore checkpoint results
    """
    with target.opened("writing checkpoints") as (chosen, _):
        written = chosen.checkpoint()
    keys = [written] if isinstance(written, str) else written
    if target.as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(keys))
        return
    from trialstore.cli.console import output
    from trialstore.render.table import plain_text

    for key in keys:
        output().print(plain_text(key), soft_wrap=True)
