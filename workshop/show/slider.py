"""A slider and buttons that draw the timeline of a waiter's work."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ipywidgets as widgets

from workshop.observe import Timeline

MOST = 8  # tables


class Slider(widgets.VBox):
    """The box with all of it."""

    def __repr__(self) -> str:  # what a page without a kernel shows
        return "Slider with a timeline: run the notebook to use it."


async def show(waiters: dict[str, Callable[[int], Any]]) -> Slider:
    """Show the waiters' buttons, a slider and the timeline of the choice.

    Each waiter takes a number of tables; it may be sync or async. Returns
    the widget when the first timeline is drawn. A change cancels what is
    still being drawn and draws anew.
    """
    tables = widgets.IntSlider(4, 1, MOST, description="tables")
    tables.continuous_update = False
    waiter = widgets.ToggleButtons(options=list(waiters))
    figure = widgets.HTML()
    drawings: list[Future[None]] = []
    loop = asyncio.get_running_loop()

    async def draw() -> None:
        with Timeline() as timeline:
            served = waiters[waiter.value](tables.value)
            if inspect.isawaitable(served):
                await served
        figure.value = timeline.html(title=waiter.value)

    def redraw(_: object = None) -> None:
        """JupyterLab may deliver a change in another thread, so the work is
        handed to the loop of the cells."""
        for drawing in drawings:
            drawing.cancel()
        drawings[:] = [asyncio.run_coroutine_threadsafe(draw(), loop)]

    tables.observe(redraw, "value")
    waiter.observe(redraw, "value")
    redraw()
    await asyncio.wrap_future(drawings[0])
    return Slider([tables, waiter, figure])
