"""A board of runs: the progress of each, and a button to cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from IPython.display import display
from ipywidgets import Button, HBox, Label, VBox

NAME = {"width": "10em"}
SAYS = {"width": "16em"}
BUTTON = {"width": "6em"}


class Rows(VBox):
    """The box with all of it."""

    def __repr__(self) -> str:  # what a page without a kernel shows
        return "Board of runs: run the notebook to use it."


class Board:
    """Run ``stream_of(name)`` for each name, in a task of its own.

    ``stream_of`` returns an async iterator of texts; the board counts them.

    - ``start``: the button that starts all of them, again if they run
    - ``cancels``: the buttons that cancel one
    - ``runs``: their tasks, once they were started
    """

    def __init__(
        self,
        names: Sequence[str],
        stream_of: Callable[[str], AsyncIterator[str]],
    ) -> None:
        self.runs: list[asyncio.Task[None]] = []
        self.start = Button(description="Start", layout=BUTTON)
        self.cancels: list[Button] = []
        self._names = names
        self._stream_of = stream_of
        self._says: list[Label] = []
        # A click may come in another thread: take it to the loop.
        self._loop = asyncio.get_running_loop()
        self.start.on_click(partial(self._soon, self._begin))
        for number in range(len(names)):
            cancel = Button(description="Cancel", layout=BUTTON, disabled=True)
            cancel.on_click(partial(self._soon, self._cancel, number))
            self.cancels.append(cancel)
            self._says.append(Label("not started", layout=SAYS))

    def show(self) -> None:
        """Display it below the cell."""
        rows = []
        for name, says, cancel in zip(
            self._names, self._says, self.cancels, strict=True
        ):
            rows.append(HBox([Label(name, layout=NAME), says, cancel]))
        display(Rows([self.start, *rows]))

    def _soon(self, function: Callable[..., None], *args: object) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    def _begin(self, _: Button) -> None:
        before = self.runs
        for run in before:
            run.cancel()
        self.runs = [
            self._loop.create_task(self._run(number, before))
            for number in range(len(self._names))
        ]

    def _cancel(self, number: int, _: Button) -> None:
        self.runs[number].cancel()

    async def _run(self, number: int, before: list[asyncio.Task]) -> None:
        if before:
            await asyncio.wait(before)
        says, cancel = self._says[number], self.cancels[number]
        tokens = 0
        says.value = _count(tokens)
        cancel.disabled = False
        try:
            async for _text in self._stream_of(self._names[number]):
                tokens += 1
                says.value = _count(tokens)
        except asyncio.CancelledError:
            says.value = f"{_count(tokens)}, cancelled"
            raise
        except Exception as error:
            says.value = f"{_count(tokens)}, {type(error).__name__}"
        else:
            says.value = f"{_count(tokens)}, done"
        finally:
            cancel.disabled = True


def _count(tokens: int) -> str:
    return "1 token" if tokens == 1 else f"{tokens} tokens"
