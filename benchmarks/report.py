"""Turn the figures of a run into a page of Markdown."""

from collections.abc import Iterable
from statistics import median

from rivals import Practice, Rival, node_version

OURS = Practice.name
LATENESS_LIMIT = 50  # ms, p99 with the most streams
LEGEND = """\
Each figure is the median of its rounds. *Start* is the time to the first
200. *Memory* is resident, idle and after the load. *Lateness* is arrival
minus (request sent + time to first token + k * time per token), over all
tokens of all streams. `n/a`: the pace is random by design; the figure in
brackets compares gaps between tokens, not moments."""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table; the first column is aligned left."""
    line = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [head, line, *rows]
    )


class Figures:
    """The results of one server, asked for by load."""

    def __init__(self, results: list[dict], rival: Rival) -> None:
        self.rival = rival
        self.results = [r for r in results if r["server"] == rival.name]

    def of(self, streams: int, paced: bool) -> list[dict]:
        """Return the results of all rounds of one load."""
        return [
            result
            for result in self.results
            if (result["streams"], result["paced"]) == (streams, paced)
        ]

    def middle(self, key: str, streams: int, paced: bool) -> float:
        """Return the median of `key` over the rounds of one load."""
        return median(result[key] for result in self.of(streams, paced))

    def complete(self, streams: int, paced: bool) -> str:
        """Return how many streams were whole, in the worst round."""
        worst = min(r["complete"] for r in self.of(streams, paced))
        return f"{worst:,}"

    def lateness(self, streams: int) -> str:
        """Return p50 / p99 in ms."""
        key = "lateness" if self.rival.steady else "gaps"
        rounds = self.of(streams, True)
        p50, p99 = (median(r[key][p] for r in rounds) for p in ("p50", "p99"))
        text = f"{p50:,.1f} / {p99:,.1f}"
        return text if self.rival.steady else f"n/a ({text})"

    def p99(self, streams: int) -> float:
        """Return the median of the rounds' p99 lateness in ms."""
        return median(r["lateness"]["p99"] for r in self.of(streams, True))

    def cost(self, streams: int, paced: bool) -> float:
        """Return the server's CPU microseconds per token."""
        rounds = self.of(streams, paced)
        return median(
            1e6 * r["server_cpu"] / max(r["tokens"], 1) for r in rounds
        )

    def client(self, streams: int, paced: bool) -> str:
        """Return how busy the client kept its core."""
        return f"{100 * self.middle('client_share', streams, paced):.0f} %"


def rush_row(figures: Figures, many: int) -> list[str]:
    """Return a row about one server that sends as fast as it can."""
    rates = [r["tokens_per_second"] for r in figures.of(many, False)]
    starts = median(r["start"] for r in figures.results)
    idle = median(r["idle"] for r in figures.results)
    after = figures.middle("after", many, False)
    return [
        f"{figures.rival.name} {figures.rival.version}".strip(),
        f"{starts:.2f} s",
        f"{idle:.0f} / {after:.0f} MB",
        figures.complete(many, False),
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{figures.cost(many, False):.0f} µs",
        figures.client(many, False),
    ]


def pace_row(figures: Figures, many: int) -> list[str]:
    """Return a row about one server that sends at a set pace."""
    return [
        figures.rival.name,
        f"{1 / figures.rival.per_token:g}",
        *(figures.lateness(streams) for streams in (1, 100, many)),
        figures.complete(many, True),
        f"{figures.cost(many, True):.0f} µs",
        figures.client(many, True),
    ]


def targets(servers: list[Figures], many: int) -> list[str]:
    """Return a line for each promise of the practice model."""
    ours = next((f for f in servers if f.rival.name == OURS), None)
    others = [f for f in servers if f.rival.package]
    if ours is None or not others:
        return []
    p99 = ours.p99(many)
    rate = ours.middle("tokens_per_second", many, False)
    best = max(f.middle("tokens_per_second", many, False) for f in others)
    cost = ours.cost(many, True)
    least = min(f.cost(many, True) for f in others)
    verdict = {True: "met", False: "**not met**"}
    return [
        f"- p99 lateness with {many:,} streams is {p99:.1f} ms;"
        f" target under {LATENESS_LIMIT} ms:"
        f" {verdict[p99 < LATENESS_LIMIT]}.",
        f"- One process sends {rate:,.0f} tokens/s, the fastest other one"
        f" {best:,.0f}; target more than any other: {verdict[rate > best]}.",
        f"- At a set pace, with a write for each token, a token costs"
        f" {cost:.0f} µs of server CPU, with the cheapest other server"
        f" {least:.0f} µs.",
    ]


def page(
    results: list[dict],
    chosen: list[Rival],
    machine: str,
    tokens: int,
    many: int,
) -> str:
    """Return the whole page; `machine` says when and where it was."""
    servers = [Figures(results, rival) for rival in chosen]
    rounds = len(servers[0].of(many, False))
    delay = max(r["client_delay"]["p99"] for r in results)
    others = [100 * r["others_share"] for r in results]
    rush = table(
        [
            "Server",
            "Start",
            "Memory",
            "Complete",
            "Tokens/s",
            "Range",
            "Server CPU per token",
            "Client CPU",
        ],
        (rush_row(figures, many) for figures in servers),
    )
    pace = table(
        [
            "Server",
            "Tokens/s each",
            "1 stream",
            "100 streams",
            f"{many:,} streams",
            "Complete",
            "Server CPU per token",
            "Client CPU",
        ],
        (pace_row(figures, many) for figures in servers),
    )
    parts = [
        "# The practice model beside other mock servers",
        f"{machine}, Node {node_version() or 'missing'}. Written by"
        " `python benchmarks/mock_servers.py`.",
        f"## As fast as they can: {many:,} streams at once,"
        f" {tokens} tokens each",
        rush,
        "## At a set pace: lateness of tokens, p50 / p99 in ms",
        pace,
        LEGEND,
        "\n".join(targets(servers, many)),
        f"Rounds: {rounds}, the servers in turns. Delay of the client's own"
        f" clock, p99 of the worst load: {delay:.1f} ms. Other processes used"
        f" {median(others):.0f} % of the machine in the median load,"
        f" {max(others):.0f} % in the busiest.",
        "\n".join(f"- {r.name}: {r.notes}." for r in chosen),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
