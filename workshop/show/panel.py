"""A panel with Start, Stop and the tokens of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import ipywidgets as widgets
import mistune


class TokenPanel(widgets.VBox):
    """Buttons, the text so far, and what a user feels of it.

    ``start`` and ``stop`` are called in the event loop of the cells. While
    an answer comes, pass its text so far to ``show``. The text is Markdown
    and is rendered; HTML in it is escaped.
    """

    def __init__(
        self, start: Callable[[], object], stop: Callable[[], object]
    ) -> None:
        self.render = mistune.create_markdown(escape=True)
        self.loop = asyncio.get_running_loop()
        self.began = self.first = 0.0
        self.tokens = 0
        self.start = widgets.Button(description="Start")
        self.stop = widgets.Button(description="Stop")
        self.facts = widgets.Label()
        self.text = widgets.HTML()

        def on_start(_: object) -> None:
            self.loop.call_soon_threadsafe(stop)
            self.loop.call_soon_threadsafe(self.begin)
            self.loop.call_soon_threadsafe(start)

        def on_stop(_: object) -> None:
            self.loop.call_soon_threadsafe(stop)

        # JupyterLab may deliver a click in another thread.
        self.start.on_click(on_start)
        self.stop.on_click(on_stop)
        buttons = widgets.HBox([self.start, self.stop])
        super().__init__([buttons, self.facts, self.text])

    def __repr__(self) -> str:  # what a page without a kernel shows
        return "Token panel: run the notebook to use it."

    def begin(self) -> None:
        """Set the clock and the counter to zero."""
        self.began = self.loop.time()
        self.tokens = 0

    def show(self, text: str) -> None:
        """Show the text so far; each call counts as one token."""
        self.text.value = self.render(text)
        took = self.loop.time() - self.began
        self.tokens += 1
        if self.tokens == 1:
            self.first = took
        speed = self.tokens / took
        self.facts.value = f"first {self.first:.2f} s, {speed:.0f} tokens/s"
