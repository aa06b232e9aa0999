"""Draws timelines as lanes over seconds: an SVG, sharp at every size.

It has no background, and its colours can be read on white and on black
(contrast 4.3 to 1 for text), because a picture in a page does not know the
page's theme. Lengths are in pixels of a picture that is 800 wide.
"""

from __future__ import annotations

import math
import textwrap
import unicodedata
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshop.observe.record import Call, Gap, Timeline

WIDTH = 800
MARGIN = 8
FONT = 17
LINE = 26  # a line of text
LANE = 34  # less where there are many, to stay under LANES together
LANES = 640
TICKS = 8  # at most, on the axis
CLOSE = 2  # tokens that are closer than this are drawn as one

INK = "#797979"
BLOCKED = "#e5484d"
STREAMING = "#2f86c8"
# How a lane ends. Shapes, and not only colours, tell the ends apart. Each
# is a path around its middle.
ENDS = {
    "done": ("M-2-11h4v22h-4z", INK),
    "cut off": (
        "M-9-5l4-4 5 5 5-5 4 4-5 5 5 5-4 4-5-5-5 5-4-4 5-5z",
        "#e69f00",
    ),
    "error": ("M0-9l9 9-9 9-9-9z", BLOCKED),
    "still open": ("M-6-9l13 9-13 9z", "#fff"),
}
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'width="{width}" height="{height}">'
    "<style>text{{font:600 {font}px system-ui,sans-serif;fill:{ink};"
    "white-space:pre}}</style>"
    '<pattern id="wait" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path d="M0 0v7" stroke="{ink}" '
    'stroke-width="2"/></pattern>'
)


def draw(timelines: dict[str, Timeline], title: str) -> str:
    """An SVG: a panel per timeline under its name, all on one time axis."""
    page = _Page()
    for line in textwrap.wrap(title, 70):
        page.text(MARGIN, line, size=20)
        page.down(30)
    calls = [call for t in timelines.values() for call in t.calls]
    if calls:
        _draw_legend(page, calls)
    names = [name for t in timelines.values() for name in t.names]
    left = MARGIN + 10 + max(map(width_of, [*names, "seconds"]))
    seconds = 1.02 * max(t.took for t in timelines.values()) or 1
    scale = (WIDTH - 2 * MARGIN - left) / seconds
    lane = min(
        LANE, LANES / sum(max(1, len(t.calls)) for t in timelines.values())
    )
    for name, timeline in timelines.items():
        _draw_head(page, name, timeline.headline())
        _draw_panel(page, timeline, left, scale, lane)
    _draw_axis(page, left, scale, seconds)
    return page.svg()


def width_of(text: str) -> float:
    """About as wide as the text will be, rather more than less."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return FONT * (0.65 * (len(text) - wide) + 1.2 * wide)


class _Page:
    """A picture that fills from the top; ``y`` is how far."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 0.0

    def down(self, length: float) -> None:
        self.y += length

    def text(
        self,
        x: float,
        words: str,
        anchor: str = "start",
        size: int = FONT,
        fill: str = INK,
        middle: float | None = None,
    ) -> None:
        """Write one line at the present height, or around ``middle``."""
        base = self.y + size if middle is None else middle + 0.36 * size
        look = ""
        if (size, fill) != (FONT, INK):
            look = f' style="font-size:{size}px;fill:{fill}"'
        if anchor != "start":
            look += f' text-anchor="{anchor}"'
        words = escape(_printable(words), quote=False)
        self.parts.append(
            f'<text x="{x:.1f}" y="{base:.1f}"{look}>{words}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, look: str
    ) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width):.1f}" '
            f'height="{height:.1f}" {look}/>'
        )

    def path(self, d: str, look: str) -> None:
        self.parts.append(f'<path d="{d}" {look}/>')

    def waiting(self, x: float, y: float, width: float, height: float) -> None:
        self.box(x, y, width, height, f'fill="url(#wait)" stroke="{INK}"')

    def end(self, outcome: str, x: float, y: float, size: float) -> None:
        shape, fill = ENDS[outcome]
        self.parts.append(
            f'<path transform="translate({x:.1f} {y:.1f}) scale({size:.2f})" '
            f'd="{shape}" fill="{fill}" stroke="{INK}" stroke-width="1.5"/>'
        )

    def svg(self) -> str:
        head = HEAD.format(
            width=WIDTH, height=math.ceil(self.y), font=FONT, ink=INK
        )
        return head + "".join(self.parts) + "</svg>"


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _draw_legend(page: _Page, calls: list[Call]) -> None:
    """Explain what occurs among the calls."""
    x, middle = float(MARGIN), page.y + LINE / 2

    def explain(words: str, room: float) -> None:
        nonlocal x
        page.text(x + room + 6, words, middle=middle)
        x += room + 6 + width_of(words) + 10

    page.waiting(x, middle - 8, 30, 16)
    explain("waiting", 30)
    if any(call.tokens for call in calls):
        page.box(x, middle - 8, 30, 16, f'fill="{STREAMING}"')
        ticks = "".join(
            f"M{x + at:.0f} {middle - 8:.0f}v16" for at in (8, 15, 22)
        )
        page.path(ticks, 'stroke="#fff" stroke-width="1.5"')
        explain("streaming, a line per token", 30)
    for outcome in ENDS:
        if any(call.outcome == outcome for call in calls):
            if x + 24 + width_of(outcome) > WIDTH:
                page.down(LINE)
                x, middle = float(MARGIN), middle + LINE
            page.end(outcome, x + 9, middle, 0.9)
            explain(outcome, 18)
    page.down(LINE + 10)


def _draw_head(page: _Page, name: str, headline: str) -> None:
    """The name of a panel and its numbers, in one line if they fit."""
    x = float(MARGIN)
    if name:
        page.text(x, f"{name}:", fill=STREAMING)
        x += width_of(f"{name}: ") + 6
        if x + width_of(headline) > WIDTH - MARGIN:
            page.down(LINE)
            x = float(MARGIN)
    page.text(x, headline)
    page.down(LINE)


def _draw_panel(
    page: _Page, timeline: Timeline, left: float, scale: float, lane: float
) -> None:
    """One lane per call, in the order of their starts."""
    if timeline.gaps:
        _draw_blocked(page, timeline.gaps, left, scale)
    page.down(4)
    top, count = page.y, max(1, len(timeline.calls))
    for gap in timeline.gaps:
        x, width = left + gap.start * scale, gap.length * scale
        look = f'fill="{BLOCKED}" fill-opacity="0.25"'
        page.box(x, top, width, count * lane, look)
        page.box(x, top - 4, width, 4, f'fill="{BLOCKED}"')
    every = math.ceil(1.2 * FONT / lane)  # leave names out, not overlap
    for row, call in enumerate(timeline.calls):
        end = timeline.took if call.end is None else call.end
        middle = top + (row + 0.5) * lane
        _draw_call(page, call, end, middle, left, scale, lane)
        if row % every == 0:
            name = timeline.names[row]
            page.text(left - 10, name, anchor="end", middle=middle)
    if not timeline.calls:
        page.text(left + 10, "no calls", middle=top + lane / 2)
    page.down(count * lane)
    page.path(f"M{left:.1f} {page.y:.1f}H{WIDTH - MARGIN}", f'stroke="{INK}"')
    page.down(14)


def _draw_call(
    page: _Page,
    call: Call,
    end: float,
    middle: float,
    left: float,
    scale: float,
    lane: float,
) -> None:
    first = end if call.first_token is None else call.first_token
    height = 0.62 * lane
    top = middle - height / 2
    x = [left + at * scale for at in (call.start, first, end)]
    page.waiting(x[0], top, x[1] - x[0], height)
    if call.tokens:
        page.box(x[1], top, x[2] - x[1], height, f'fill="{STREAMING}"')
        at, ticks = -math.inf, ""
        for token in call.tokens:
            place = left + token * scale
            if place >= at + CLOSE:
                at = place
                ticks += f"M{place:.1f} {top:.1f}v{height:.1f}"
        gap = (x[2] - x[1]) / len(call.tokens)
        thin = min(1.5, max(0.4, gap / 4))
        page.path(ticks, f'stroke="#fff" stroke-width="{thin:.1f}"')
    page.end(call.outcome, x[2], middle, min(1, lane / LANE))


def _draw_blocked(
    page: _Page, gaps: list[Gap], left: float, scale: float
) -> None:
    """Say once what the red bands mean, over the longest."""
    longest = max(gaps, key=lambda gap: gap.length)
    words = "event loop blocked"
    half = width_of(words) / 2
    x = left + (longest.start + longest.length / 2) * scale
    x = min(max(x, left + half), WIDTH - MARGIN - half)
    page.text(x, words, anchor="middle", fill=BLOCKED)
    page.down(LINE)


def _draw_axis(page: _Page, left: float, scale: float, seconds: float) -> None:
    """Numbers under the last panel, and faint lines through all."""
    step = 10 ** math.floor(math.log10(seconds))
    step *= next(
        n for n in (0.1, 0.2, 0.5, 1, 2) if seconds / (step * n) <= TICKS
    )
    bottom = page.y - 14
    lines = ""
    for tick in range(int(seconds / step) + 1):
        x = left + tick * step * scale
        lines += f"M{x:.1f} {bottom:.1f}v6"
        page.text(x, f"{tick * step:g}", anchor="middle")
    page.path(lines, f'stroke="{INK}"')
    page.text(left - 10, "seconds", anchor="end")
    page.down(LINE)
