"""Turn the figures of services.py into a page of Markdown."""

from collections import defaultdict
from statistics import median

from report import table
from services_client import FIRST, PER_TOKEN, TOKENS, WHOLE

NOTES, SERVICE = "notes' /chat", "final service"
AIMS = {SERVICE: 2, f"{SERVICE}, PostgreSQL": 1.6}  # times the notes' streams
MEMORY = 450  # kB a stream
SLACK = 0.02  # seconds that count as equal
SHARE = 1.05  # and the ratio
LONG = 1000.0  # seconds: an answer that never came

LEGEND = f"""\
An answer has {TOKENS} tokens; the model sends the first after {FIRST} s and
one every {1000 * PER_TOKEN:.0f} ms, so it takes
{WHOLE:.2f} s at best. All clients ask at the same
moment. *First token* and *end* are what they see. *CPU* is of the server's
process alone, *memory* is how much its resident memory grows at most, for
each stream. *Whole* answers have every token in order. *Others* is the share
of the machine that processes used which have nothing to do with it. Each row
is the round that others disturbed least.

The service's limit of 50 runs a worker is lifted here. Runs that begin at the
same moment share the work of beginning, so with 1,000 of them the first token
comes late. That is what the limit is for: it answers 503 to whom it
cannot serve well."""

HOW = """\
What each step is, in the order in which you may want to take them over:

- *uvloop and httptools*: install them, and uvicorn uses them.
- *dict chunks*: the SDK builds a model of each chunk, and `ChatOpenAI` turns
  it back into a dict. `DictChunks` leaves plain text what it was.
- *aiohttp*: `openai.DefaultAioHttpClient()` under the same `ChatOpenAI`. It
  parses HTTP in C.
- *`stream_chunk_timeout=None`*: otherwise each chunk is awaited with a time
  limit of its own. The service limits the whole run.
- *callback*: `astream` takes each token through a queue and two tasks. A
  callback with `run_inline` is called by the task that reads.
- *calm gc*: `gc.freeze()` once all is loaded, and higher thresholds, so that
  a collection does not walk through all of LangChain.

Tried and not taken: lists of modes and `version="v2"` (no gain),
`astream_events` (see the layers), letting only a few runs start at a time (it
costs the batching and made every figure worse), a shorter
`sys.setswitchinterval` (no difference), `durability="exit"` (little, and a
crash then loses the question)."""


class Results(defaultdict[str, list[dict]]):
    """The results of each part, in order."""

    def __init__(self) -> None:
        super().__init__(list)


def names(results: list[dict]) -> list[str]:
    """Return what was measured, each once, in order."""
    return list(dict.fromkeys(result["server"] for result in results))


def quietest(results: list[dict], server: str, visitors: int = 0) -> dict:
    """Return the round that others disturbed least."""
    rounds = [
        result
        for result in results
        if result["server"] == server and visitors in (0, result["visitors"])
    ]
    return min(rounds, key=lambda result: result["others"])


def in_the_middle(results: list[dict], server: str) -> dict:
    """Return the round with the median number of streams."""
    rounds = [result for result in results if result["server"] == server]
    return sorted(rounds, key=lambda r: r["here"])[len(rounds) // 2]


def typical_cost(results: list[dict], server: str) -> float:
    """Return the median CPU, µs a token, of all rounds."""
    return median(r["cpu"] for r in results if r["server"] == server)


def seconds(times: dict[str, float]) -> str:
    """Return p50 / p95 in seconds, or a hyphen."""
    if not times:
        return "-"
    return f"{times['p50']:.2f} / {times['p95']:.2f} s"


def row(result: dict) -> list[str]:
    """Return the cells of one load."""
    whole = result["outcomes"].get("whole", 0)
    complete = f"{whole:,} of {result['asked']:,}"
    if whole < result["asked"]:
        complete += f" in {result['wall']:.0f} s"
    visitors = result["visitors"]
    memory = f"{1000 * result['grown'] / visitors:,.0f} kB"
    return [
        result["server"],
        f"{visitors:,}",
        seconds(result["first"]),
        seconds(result["end"]),
        f"{result['tokens_per_second']:,.0f}",
        f"{result['cpu']:,.0f} µs",
        memory if visitors >= 100 else "-",
        complete,
        f"{100 * result['others']:.0f} %",
    ]


HEAD = [
    "Endpoint",
    "Clients",
    "First token p50 / p95",
    "End p50 / p95",
    "Tokens/s",
    "CPU a token",
    "Memory a stream",
    "Whole",
    "Others",
]


def loads(results: list[dict]) -> str:
    """Return a table of each endpoint at each size."""
    sizes = sorted({result["visitors"] for result in results})
    return table(
        HEAD,
        (
            row(quietest(results, server, size))
            for size in sizes
            for server in names(results)
        ),
    )


def most_held(results: list[dict], server: str) -> dict:
    """Return the load of most clients that was served as if alone."""
    held = [r for r in results if r["server"] == server and r["held"]]
    return max(held, key=lambda result: result["visitors"])


def carried(results: list[dict]) -> str:
    """Return a table of the streams that each endpoint carries."""

    def cells(server: str) -> list[str]:
        held = most_held(results, server)
        broke = [
            f"{r['visitors']} ({seconds(r['first'])}, {seconds(r['end'])})"
            for r in results
            if r["server"] == server and not r["held"]
        ]
        return [
            server,
            str(held["visitors"]),
            seconds(held["first"]),
            seconds(held["end"]),
            f"{held['tokens_per_second']:,.0f}",
            f"{held['cpu']:,.0f} µs",
            "; ".join(broke),
        ]

    head = ["Endpoint", "Streams", "First token p50 / p95", "End p50 / p95"]
    head += ["Tokens/s", "CPU a token", "Too many"]
    return table(head, map(cells, names(results)))


def twice(results: list[dict]) -> str:
    """Return a table of the streams at which the wait doubles."""

    def cells(server: str) -> list[str]:
        rounds = [r for r in results if r["server"] == server]
        typical = in_the_middle(results, server)
        more = "more than " if typical["here"] >= typical["most"] else ""
        return [
            server,
            f"{typical['alone']:.2f} s",
            f"{more}{typical['here']}",
            ", ".join(str(r["here"]) for r in rounds),
            f"{typical['tokens_per_second']:,.0f}",
            f"{typical['cpu']:,.0f} µs",
        ]

    head = ["Endpoint", "First token alone", "Streams", "All rounds"]
    head += ["Tokens/s", "CPU a token"]
    return table(head, map(cells, names(results)))


def costs(results: list[dict], first: str) -> str:
    """Return a table of what a token costs, each beside the first row."""
    head = ["", "CPU a token", "All rounds", "Beside the first"]
    base = typical_cost(results, names(results)[0])

    def cells(server: str) -> list[str]:
        rounds = [r["cpu"] for r in results if r["server"] == server]
        cost = typical_cost(results, server)
        return [
            server if server == SERVICE else f"{first}{server}",
            f"{cost:,.0f} µs",
            ", ".join(f"{each:,.0f}" for each in rounds),
            f"{100 * (cost / base - 1):+.0f} %",
        ]

    return table(head, map(cells, names(results)))


def layers(results: list[dict]) -> str:
    """Return a table of what each layer costs."""

    def cells(server: str) -> list[str]:
        rounds = [r["cpu"] for r in results if r["server"] == server]
        return [
            server,
            f"{median(rounds):,.0f} µs",
            ", ".join(f"{each:,.0f}" for each in rounds),
        ]

    head = ["What is between the model and the wire", "CPU a token"]
    return table([*head, "All rounds"], map(cells, names(results)))


def worse(
    results: list[dict], name: str, rival: str, sizes: list[int]
) -> list[str]:
    """Return where a service is worse than a rival."""
    found = []
    for size in sizes:
        ours, theirs = (
            quietest(results, server, size) for server in (name, rival)
        )
        if ours["outcomes"].get("whole", 0) < ours["asked"]:
            found.append(f"whole answers with {size:,}")
        whole = theirs["outcomes"].get("whole", 0) / theirs["asked"]
        begun = theirs["tokens"] / theirs["asked"]  # at most
        for what, key, here in (
            ("first token", "first", begun),
            ("end", "end", whole),
        ):
            for share, part in (("p50", 0.5), ("p95", 0.95)):
                # Who never got it waits forever.
                them = theirs[key][share] if here >= part else LONG
                us = ours[key].get(share, LONG)
                if us > max(them + SLACK, them * SHARE):
                    found.append(f"{what} {share} with {size:,}")
        if ours["cpu"] > theirs["cpu"] * SHARE:
            found.append(f"CPU a token with {size:,}")
    return found


def verdicts(results: Results) -> str:
    """Return a line for each aim, as far as it was measured."""
    rows, alone, doubled = results["rows"], results["alone"], results["twice"]
    sizes = sorted({result["visitors"] for result in rows})
    met = {True: "met", False: "**not met**"}
    lines = []
    theirs = most_held(alone, NOTES)["visitors"]
    for name, aim in AIMS.items():
        ours = most_held(alone, name)["visitors"]
        lines.append(
            f"- {name}: {aim} times the notes' streams on a core at the same"
            f" time to first token, tried in tens: {ours} against {theirs},"
            f" {ours / theirs:.1f} times: {met[ours >= aim * theirs]}."
        )
        if doubled:
            us = in_the_middle(doubled, name)["here"]
            them = in_the_middle(doubled, NOTES)["here"]
            lines.append(
                f"- {name}: until the first token takes twice as long: {us}"
                f" against {them}; the notes' answers are late long before."
            )
        many = quietest(rows, name, sizes[-1])
        times = quietest(rows, NOTES, sizes[-1])["cpu"] / many["cpu"]
        memory = 1000 * many["grown"] / sizes[-1]
        lines.append(
            f"- {name}: at {sizes[-1]:,} clients a token of the notes'"
            f" endpoint costs {times:.1f} times its CPU. A stream takes"
            f" {memory:,.0f} kB; below {MEMORY}: {met[memory < MEMORY]}."
        )
        for rival in names(rows):
            if rival in AIMS:
                continue
            found = worse(rows, name, rival, sizes)
            where = f" Worse: {'; '.join(found)}." if found else ""
            lines.append(
                f"- {name}: never worse than {rival}, by more than"
                f" {1000 * SLACK:.0f} ms and {100 * (SHARE - 1):.0f} %:"
                f" {met[not found]}.{where}"
            )
    return "\n".join(lines)


def page(results: Results, machine: str, options: str = "") -> str:
    """Return the whole page of what was measured; `machine` says when and
    where it was, `options` how."""
    everything = [result for part in results.values() for result in part]
    others = median(result["others"] for result in everything)
    delay = max(r["client_delay"].get("p95", 0.0) for r in everything)
    parts = [
        "# The finished service beside the endpoints that people write",
        f"{machine}. Written by `python benchmarks/services.py{options}`. The"
        " service is the package `solutions/service`.",
        verdicts(results),
        "## One process",
        loads(results["rows"]),
        LEGEND,
    ]
    if two := results["two"]:
        parts += ["## Two workers", loads(two)]
    parts += [
        "## How many streams as if each were alone",
        "Clients that come and go, never two at the same moment. The most with"
        " which both the first token and the end (medians) take at most a"
        " fifth longer than for one client alone.",
        carried(results["alone"]),
    ]
    if doubled := results["twice"]:
        parts += [
            "## How many streams until the first token takes twice as long",
            "A new client comes five times a second and asks again and again."
            " The run ends when the median first token of the last second"
            " took twice as long as for one client alone. The figures are of"
            " the round in the middle.",
            twice(doubled),
        ]
    if steps := results["steps"]:
        parts += [
            "## What each step gives",
            f"The service as it is, and without one step, with"
            f" {steps[0]['visitors']} clients that come and go, never two at"
            " the same moment. The figure is the median of all rounds, in"
            " turns.",
            costs(steps, "without "),
            HOW,
        ]
    if measured := results["layers"]:
        parts += [
            "## Where the CPU goes",
            f"{measured[0]['visitors']} clients that come and go, one"
            " process, all in turns; the median of all rounds.",
            layers(measured),
        ]
    parts.append(
        f"Over all loads, others used a median of {100 * others:.0f} % of the"
        f" machine. The client's own clock was at most {1000 * delay:.1f} ms"
        " late (p95)."
    )
    return "\n\n".join(parts) + "\n"
