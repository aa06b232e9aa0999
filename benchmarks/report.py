"""Turn the figures of a run into a page of Markdown."""

from collections.abc import Iterable
from statistics import median

from rivals import Practice, Rival, node_version

OURS = Practice.name
LATENESS_LIMIT = 50  # ms, p99 with the most streams
USED = ["Server CPU per token", "Client", "Others"]
LEGEND = """\
Each figure is from the quietest round of its load: the one in which
processes that have nothing to do with it, "others", used the least of the
machine. *Start* (time to the first 200) and idle memory are medians of all
starts, *complete* is the worst round. *Memory* is resident, idle and after
the load. *Lateness* is arrival minus (request sent + time to first token +
k * time per token), over all tokens of all streams. `n/a`: the pace is
random by design; the brackets compare gaps between tokens, not moments."""


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

    def quietest(self, streams: int, paced: bool) -> dict:
        """Return the round of one load that others disturbed least."""
        rounds = self.of(streams, paced)
        return min(rounds, key=lambda result: result["others_share"])

    def complete(self, streams: int, paced: bool) -> str:
        """Return how many streams were whole, in the worst round."""
        worst = min(r["complete"] for r in self.of(streams, paced))
        return f"{worst:,}"

    def lateness(self, streams: int) -> str:
        """Return p50 / p99 in ms."""
        key = "lateness" if self.rival.steady else "gaps"
        late = self.quietest(streams, True)[key]
        text = f"{late['p50']:,.1f} / {late['p99']:,.1f}"
        return text if self.rival.steady else f"n/a ({text})"

    def cost(self, streams: int, paced: bool) -> float:
        """Return the server's CPU microseconds per token."""
        result = self.quietest(streams, paced)
        return 1e6 * result["server_cpu"] / max(result["tokens"], 1)

    def used(self, streams: int, paced: bool) -> list[str]:
        """Return three cells: CPU of the server, the client and others."""
        result = self.quietest(streams, paced)
        return [
            f"{self.cost(streams, paced):.0f} µs",
            f"{100 * result['client_share']:.0f} %",
            f"{100 * result['others_share']:.0f} %",
        ]


def rush_row(figures: Figures, many: int) -> list[str]:
    """Return a row about one server that sends as fast as it can."""
    result = figures.quietest(many, False)
    start = median(r["start"] for r in figures.results)
    idle = median(r["idle"] for r in figures.results)
    return [
        f"{figures.rival.name} {figures.rival.version}".strip(),
        f"{start:.2f} s",
        f"{idle:.0f} / {result['after']:.0f} MB",
        figures.complete(many, False),
        f"{result['tokens_per_second']:,.0f}",
        *figures.used(many, False),
    ]


def pace_row(figures: Figures, many: int) -> list[str]:
    """Return a row about one server that sends at a set pace."""
    return [
        figures.rival.name,
        f"{1 / figures.rival.per_token:g}",
        *(figures.lateness(streams) for streams in (1, 100, many)),
        figures.complete(many, True),
        *figures.used(many, True),
    ]


def targets(servers: list[Figures], many: int) -> list[str]:
    """Return a line for each promise of the practice model."""
    ours = next((f for f in servers if f.rival.name == OURS), None)
    others = [f for f in servers if f.rival.package]
    if ours is None or not others:
        return []
    p99 = ours.quietest(many, True)["lateness"]["p99"]
    rounds = ", ".join(
        f"{r['lateness']['p99']:,.1f} ms ({100 * r['others_share']:.0f} %)"
        for r in ours.of(many, True)
    )
    rate, *rates = (
        figures.quietest(many, False)["tokens_per_second"]
        for figures in (ours, *others)
    )
    best = max(rates)
    cost = ours.cost(many, True)
    least = min(f.cost(many, True) for f in others)
    verdict = {True: "met", False: "**not met**"}
    return [
        f"- p99 lateness with {many:,} streams is {p99:.1f} ms;"
        f" target under {LATENESS_LIMIT} ms:"
        f" {verdict[p99 < LATENESS_LIMIT]}. All rounds, with the share of"
        f" others: {rounds}.",
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
    shown = [figures.quietest(many, True) for figures in servers]
    delay = max(result["client_delay"]["p99"] for result in shown)
    others = median(result["others_share"] for result in results)
    rush = table(
        [
            "Server",
            "Start",
            "Memory",
            "Complete",
            "Tokens/s",
            *USED,
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
            *USED,
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
        f"{rounds} rounds, the servers in turns. The client's own clock was"
        f" at most {delay:.1f} ms late (p99) in the {many:,}-stream loads"
        f" shown at a set pace. Over all loads, others used a median of"
        f" {100 * others:.0f} % of the machine. *Client* is the share of one"
        " core that the load client used.",
        "\n".join(f"- {r.name}: {r.notes}." for r in chosen),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
