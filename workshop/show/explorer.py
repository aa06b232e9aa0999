"""A panel that streams a graph in the modes that a reader ticks."""

from __future__ import annotations

import asyncio
import html
from typing import Any, get_args
from uuid import uuid4

import ipywidgets as widgets
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StreamMode

from workshop.chunks import brief

MODES = (*get_args(StreamMode), "tools")
SMALL = {"indent": False, "layout": {"width": "9em"}}


class ModeExplorer(widgets.VBox):
    """Ticks for the modes, and the chunks of one run in the order they come.

    Each run is a thread of its own for the graph's checkpointer. To be
    created in a cell: what it runs, it runs in the event loop of the cells.
    """

    def __init__(self, graph: CompiledStateGraph, order: Any) -> None:
        self.graph = graph
        self.order = order
        self.lines: list[str] = []
        self.ticks = [
            widgets.Checkbox(description=mode, **SMALL) for mode in MODES
        ]
        self.subgraphs = widgets.Checkbox(description="subgraphs", **SMALL)
        self.version = widgets.ToggleButtons(options=["v2", "v1"])
        self.method = widgets.ToggleButtons(options=["astream", "stream"])
        self.button = widgets.Button(description="Run")
        self.screen = widgets.HTML()
        self.loop = asyncio.get_running_loop()
        self.button.on_click(self.press)
        rows = [
            self.ticks[:4],
            self.ticks[4:],
            [self.subgraphs, self.version],
            [self.method, self.button],
            [self.screen],
        ]
        super().__init__([widgets.HBox(row) for row in rows])

    def __repr__(self) -> str:  # what a page without a kernel shows
        return "Mode explorer: run the notebook to use it."

    def press(self, _: object = None) -> None:
        """JupyterLab may deliver a click in another thread, so the run is
        handed to the loop of the cells."""
        asyncio.run_coroutine_threadsafe(self.run(), self.loop)

    async def run(self) -> None:
        """Stream the graph as it is ticked; an error is shown as a line."""
        self.lines.clear()
        self.button.disabled = True
        stream = getattr(self.graph, self.method.value)(
            self.order,
            config={"configurable": {"thread_id": str(uuid4())}},
            stream_mode=[t.description for t in self.ticks if t.value],
            subgraphs=self.subgraphs.value,
            version=self.version.value,
        )
        try:
            if self.method.value == "astream":
                async for chunk in stream:
                    self.show(chunk)
            else:
                for chunk in stream:
                    self.show(chunk)
        except Exception as error:
            self.show(error)
        finally:
            self.button.disabled = False

    def show(self, chunk: object) -> None:
        """Add a line; a model cannot write HTML into the page."""
        self.lines.append(f"{type(chunk).__name__} {brief(chunk)}")
        text = html.escape("\n".join(self.lines))
        self.screen.value = f"<pre>{text}</pre>"
