"""Draws timelines as lanes over seconds."""

from __future__ import annotations

import io
import logging
import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

# With its first import on a machine, it may report on stderr that it looks
# for fonts.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

from matplotlib import style  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from PIL import Image  # noqa: E402

if TYPE_CHECKING:
    from workshop.observe.record import Timeline

# Lengths are in inches.
DPI = 100
WIDTH = 8.0
MARGIN = 0.15
LINE = 0.24  # a line of text
LANE = 0.34  # less where there are many, to stay under LANES together
LANES = 6.0
FONT = 11  # points

INK = "#1b1f24"
FAINT = "#d0d7de"
BLOCKED = "#c8102e"
TOKEN = 1.2  # points
WAITING = {"facecolor": "#eef1f4", "edgecolor": "#8c959f", "hatch": "////"}
STREAMING = {"facecolor": "#0072b2", "edgecolor": "#0072b2"}
# How a lane ends. Shapes, and not only colours, tell the ends apart.
ENDS = {
    "done": {"marker": "|", "ms": 15, "mew": 3, "mec": INK},
    "cut off": {"marker": "X", "ms": 11, "mfc": "#e69f00", "mec": INK},
    "error": {"marker": "D", "ms": 9, "mfc": BLOCKED, "mec": INK},
    "still open": {"marker": ">", "ms": 10, "mfc": "white", "mec": INK},
}
# Whatever style the notebook has set, this one draws.
STYLE = ["default", {"font.size": FONT, "hatch.linewidth": 0.8}]


def draw(timelines: dict[str, Timeline], title: str) -> bytes:
    """A PNG: a panel per timeline under its name, all on one time axis."""
    with style.context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        page = _compose(timelines, textwrap.wrap(title, 60))
        page.canvas.draw()
    size = page.canvas.get_width_height()
    image = Image.frombytes("RGBA", size, page.canvas.buffer_rgba())
    file = io.BytesIO()
    image = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _compose(timelines: dict[str, Timeline], title: list[str]) -> _Page:
    """Lay out title, legend and panels from top to bottom."""
    rows = [max(1, len(t.calls)) for t in timelines.values()]
    lane = min(LANE, LANES / sum(rows))
    gap_lines = sum(bool(t.gaps) for t in timelines.values())
    lines = 1.3 * len(title) + 1.4 + 2.3 * len(rows) + gap_lines + 1.2
    page = _Page(2 * MARGIN + lines * LINE + sum(rows) * lane)
    for line in title:
        page.write(line, fontsize=14, fontweight="bold")
        page.down(1.3 * LINE)
    page.legend(timelines)
    page.down(1.4 * LINE)
    left = 2 * MARGIN + page.label_width(timelines)
    seconds = 1.02 * max(t.took for t in timelines.values()) or 1
    for name, timeline in timelines.items():
        x = MARGIN
        if name:
            x += 0.12 + page.write(name, x, fontweight="bold")
        page.write(timeline.headline(), x)
        page.down((1.3 + bool(timeline.gaps)) * LINE)
        count = max(1, len(timeline.calls))
        axes = page.axes(left, count * lane)
        axes.set(xlim=(0, seconds), ylim=(count - 0.5, -0.5))
        _draw_gaps(page, axes, timeline)
        _draw_lanes(axes, timeline, lane)
        page.down(count * lane + LINE)
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("seconds", color=INK)
    return page


class _Page:
    """A figure that fills from the top."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure((WIDTH, height), DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        self.y = MARGIN

    def down(self, length: float) -> None:
        self.y += length

    def write(self, text: str, x: float = MARGIN, **how: Any) -> float:
        """Write one line at the present height; return its width."""
        how = {"va": "top", "color": INK, "parse_math": False} | how
        place = x / WIDTH, 1 - self.y / self.height
        return self._width(self.figure.text(*place, text, **how))

    def label_width(self, timelines: dict[str, Timeline]) -> float:
        labels = {c.label for t in timelines.values() for c in t.calls}
        texts = [Text(text=label, parse_math=False) for label in labels]
        for text in texts:
            text.set_figure(self.figure)
        return max(map(self._width, texts), default=0)

    def _width(self, text: Text) -> float:
        return text.get_window_extent(self.canvas.get_renderer()).width / DPI

    def axes(self, left: float, height: float) -> Axes:
        """Axes from ``left`` to the right margin, at the present height."""
        width = WIDTH - MARGIN - left
        bottom = self.height - self.y - height
        axes = self.figure.add_axes(
            (
                left / WIDTH,
                bottom / self.height,
                width / WIDTH,
                height / self.height,
            )
        )
        axes.tick_params(
            labelbottom=False, left=False, labelleft=False, color=FAINT
        )
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
        return axes

    def legend(self, timelines: dict[str, Timeline]) -> None:
        """Explain what occurs in these timelines."""
        calls = [call for t in timelines.values() for call in t.calls]
        handles: list[Any] = [Patch(**WAITING, label="waiting")]
        if any(call.tokens for call in calls):
            ticks = Patch(**STREAMING | {"edgecolor": "white", "hatch": "||"})
            ticks.set_label("streaming, a line per token")
            handles.append(ticks)
        for outcome, look in ENDS.items():
            if any(call.outcome == outcome for call in calls):
                handles.append(Line2D([], [], ls="", label=outcome, **look))
        if calls:
            self.figure.legend(
                handles=handles,
                ncols=len(handles),
                loc="upper left",
                bbox_to_anchor=(MARGIN / WIDTH, 1 - self.y / self.height),
                borderpad=0,
                borderaxespad=0,
                columnspacing=1.2,
                handlelength=1.6,
                handletextpad=0.4,
                frameon=False,
                labelcolor=INK,
            )


def _draw_gaps(page: _Page, axes: Axes, timeline: Timeline) -> None:
    """Red bands over all lanes, and once what they mean."""
    for gap in timeline.gaps:
        end = gap.start + gap.length
        axes.axvspan(gap.start, end, color=BLOCKED, alpha=0.18, lw=0)
        axes.plot(
            [gap.start, end],
            [1, 1],
            transform=axes.get_xaxis_transform(),
            color=BLOCKED,
            linewidth=5,
            solid_capstyle="butt",
            clip_on=False,
        )
    if timeline.gaps:
        longest = max(timeline.gaps, key=lambda gap: gap.length)
        text = axes.annotate(
            "event loop blocked",
            (longest.start + longest.length / 2, 1),
            (0, 5),
            axes.get_xaxis_transform(),
            "offset points",
            color=BLOCKED,
            fontweight="bold",
            ha="center",
            va="bottom",
        )
        box = text.get_window_extent(page.canvas.get_renderer())
        bounds = axes.bbox
        shift = max(0, bounds.x0 - box.x0) - max(0, box.x1 - bounds.x1)
        text.xyann = (shift * 72 / DPI, 5)


def _draw_lanes(axes: Axes, timeline: Timeline, lane: float) -> None:
    """One lane per call, in the order of their starts."""
    every = math.ceil(0.19 / lane)  # leave labels out rather than overlap
    for y, call in enumerate(timeline.calls):
        end = timeline.took if call.end is None else call.end
        first = end if call.first_token is None else call.first_token
        bar = {"y": y, "height": 0.64}
        axes.barh(left=call.start, width=first - call.start, **bar, **WAITING)
        axes.barh(left=first, width=end - first, **bar, **STREAMING)
        if call.tokens:  # the more there are, the thinner
            share = (end - first) / axes.get_xlim()[1] / len(call.tokens)
            thin = min(TOKEN, 0.25 * share * axes.bbox.width)
            axes.vlines(call.tokens, y - 0.32, y + 0.32, "white", lw=thin)
        look = ENDS[call.outcome]
        size = min(1, lane / LANE) * look["ms"]
        axes.plot(end, y, clip_on=False, zorder=3, **look | {"ms": size})
        if y % every == 0:
            axes.annotate(
                call.label,
                (0, y),
                (-6, 0),
                axes.get_yaxis_transform(),
                "offset points",
                ha="right",
                va="center",
                color=INK,
                parse_math=False,
            )
    if not timeline.calls:
        axes.text(0.02, 0, "no calls", va="center", color=INK)
