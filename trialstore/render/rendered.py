"""What an object has that can be shown as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.render.page import Page

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Rendered"]


class Rendered:
    """Shows itself in a terminal with rich, and in a notebook as HTML, both from one page."""

    __slots__ = ()

    def _page(self) -> Page:
        """What is said of the object."""
        raise NotImplementedError

    def __rich__(self) -> RenderableType:
        """For ``rich.print``."""
        from trialstore.render.terminal import TerminalPage

        return TerminalPage(self._page())

    def _repr_html_(self) -> str:
        """For notebooks."""
        from trialstore.render.html import html_of

        return html_of(self._page())
