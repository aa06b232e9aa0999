"""What a text offers as arguments: numbers, quotes, names, dates, ...

Each piece is taken once, so that "3 times 4" fills two parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from workshop.practice import words

_DAYS = "mon|tues|wednes|thurs|fri|satur|sun"
COUNTED = words.VOCABULARY["numbers"].split()
_HEX = "[0-9a-fA-F]"
_CAPITAL = "[A-ZÀ-Þ]"
PATTERNS = {
    "quoted": re.compile(
        r"\"([^\"\n]+)\"|(?<!\w)'([^'\n]+)'(?!\w)|“([^”]+)”|\u2018([^\u2019]+)\u2019"
        r"|`([^`]+)`"
    ),
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "uri": re.compile(r"https?://[^\s\"'<>)]*[^\s\"'<>).,;!?]"),
    "uuid": re.compile(rf"\b{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}\b"),
    "date": re.compile(r"\b\d{4}-\d\d-\d\d\b"),
    "day": re.compile(
        r"\b(?:today|tomorrow|tonight|(?:next |this )?"
        rf"(?:{_DAYS})day)\b",
        re.I,
    ),
    "time": re.compile(
        r"\b\d{1,2}:\d\d(?:\s?[ap]m)?\b|\b\d{1,2}\s?[ap]m\b", re.I
    ),
    "sum": re.compile(
        r"(?<![\d.(])\(*\d[\d.]*(?:\s*[-+*/^%\u00d7\u00f7]+\s*\(*\d[\d.]*\)*)+"
    ),
    "name": re.compile(
        rf"\b{_CAPITAL}[\w'\u2019-]*"
        rf"(?: (?:(?:de|la|of) )?{_CAPITAL}[\w'\u2019-]*)*"
        r"(?:, [A-Z]{2}\b)?"
    ),
    "number": re.compile(
        r"(?:(?<![\w.])-?|(?<=\dx))(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
        rf"(?![\d:])|\b(?:{'|'.join(COUNTED[2:])})\b",
        re.I,
    ),
    "phone": re.compile(r"(?<!\w)\+?\(?\d[\d ()/-]{5,}\d(?!\w)"),
}
NO_NAMES = frozenset(words.VOCABULARY["no_names"].lower().split())
OPENERS = frozenset(words.VOCABULARY["openers"].split())
POINTERS = {
    word: frozenset(map(words.stem, names.split()))
    for word, names in words.VOCABULARY["pointers"].items()
}
# Words that lead to a phrase; the first that is there counts.
_TO_TEXT = (":", r"\b(?:saying|says|that)", r"\b(?:about|for|regarding)")
_TO_ANYTHING = (
    *_TO_TEXT,
    r"\b(?:orders?|wants?|likes?|in|at|to|on|with|of)",
)
_TO_END = r"\s+(\S.*?)(?=[.?!,;]*(?:\s*$|[.?!;]\s|\n))"
_BREAK = re.compile(
    r"[.;!?]\s+|\n+|,?\s+(?:and\s+(?:then|also)|then|and|or|&)\s+"
)
_LISTING = re.compile(r"(?:\s*,)?(?:\s*(?:and|or|&))?\s*")
_COMMA = re.compile(r",\s+(?![A-Z]{2}\b)")
_AND = re.compile(r"\s(?:and|or|&)\s")
_LEAD = re.compile(r"\A.*?(?::|\b(?:orders?|wants?|likes?|have|has))\s+", re.S)
_TAIL = re.compile(r"\s(?:for|to|at|in|on|from|with|please)\b.*", re.S)


class Piece(NamedTuple):
    start: int
    end: int
    value: str


class Source:
    """A text and what has been taken from it.

    ``not_names`` are stems that are no name at the start of a sentence;
    ``listed`` says that the text is an entry of a list.
    """

    def __init__(
        self,
        text: str,
        not_names: Collection[str] = (),
        listed: bool = False,
    ) -> None:
        self.text = text
        self.listed = listed
        self._not_names = frozenset(not_names)
        self._used: list[Piece] = []
        self._found: dict[str, list[Piece]] = {}

    def mark(self) -> int:
        """A point to go back to with ``give_back``."""
        return len(self._used)

    def give_back(self, mark: int) -> None:
        """Make free again what was taken since the mark."""
        del self._used[mark:]

    def set_aside(self, names: Collection[str]) -> None:
        """Never take these where they are quoted: they are no values."""
        pieces = self._pieces("quoted")
        self._used += [piece for piece in pieces if piece.value in names]

    def take(
        self,
        kind: str,
        hint: Collection[str] | None = None,
        accept: Callable[[str], bool] = bool,
    ) -> str | None:
        """The first piece of a kind that is free and accepted, or None.

        With a ``hint``, the stems of a parameter's name, only a piece
        that stands beside one of them, as in "table 3".
        """
        for piece in self._pieces(kind):
            free = all(
                piece.end <= used.start or piece.start >= used.end
                for used in self._used
            )
            beside = hint is None or self._beside(piece, hint)
            if free and beside and accept(piece.value):
                self._used.append(piece)
                return piece.value
        return None

    def take_run(self, kind: str) -> list[str]:
        """All pieces of a kind that are free, or those of one list in the
        text ("Alice and Bob"), though one of them was taken before."""
        pieces = self._pieces(kind)
        run: list[Piece] = []
        for piece in pieces:
            between = self.text[run[-1].end : piece.start] if run else ""
            if run and not _LISTING.fullmatch(between):
                if len(run) > 1:
                    break
                run = []
            run.append(piece)
        if len(run) < 2:
            return self.take_all(kind)
        self._used += run
        return [piece.value for piece in run]

    def take_all(self, kind: str) -> list[str]:
        """All pieces of a kind that are free."""
        return list(iter(lambda: self.take(kind), None))

    def take_word(self, accept: Callable[[str], bool]) -> str | None:
        """The first word that is accepted, whatever kind it is."""
        for match in re.finditer(r"\S+", self.text):
            word = match[0].strip("\"'`.,;:!?()<>")
            if word and accept(word):
                self._used.append(Piece(*match.span(), word))
                return word
        return None

    def take_words(self, value: str) -> bool:
        """Take exactly these words, if they are there in any case."""
        spoken = r"[\s_-]".join(map(re.escape, re.split(r"[\s_-]", value)))
        found = re.search(rf"(?<!\w){spoken}(?!\w)", self.text, re.I)
        if found:
            self._used.append(Piece(*found.span(), value))
        return found is not None

    def take_phrase(self, free: bool) -> str | None:
        """What follows a colon, "about", "for", ... up to the clause's end.

        ``free`` accepts only what leads to a text, and not "in" or "at".
        """
        for marker in _TO_TEXT if free else _TO_ANYTHING:
            found = re.search(marker + _TO_END, self.text, re.I)
            if found:
                break
        else:
            return None
        if any(piece.value == found[1] for piece in self._used):
            return None
        self._used.append(Piece(*found.span(1), found[1]))
        return re.sub(r"\s(?:today|now|please)$", "", found[1], flags=re.I)

    def rest(self) -> str:
        """The text without the words that only open the sentence."""
        said = self.text.strip()
        while " " in said:
            first, rest = said.split(maxsplit=1)
            if first.lower().rstrip(",:") not in OPENERS:
                break
            said = rest
        return said.rstrip("?!.,;: ")

    def entries(self) -> list[str]:
        """The entries of a list such as "soup, bread and wine"."""
        said = _LEAD.sub("", self.rest())
        found = re.split(r",\s*(?:and\s+)?|\s+and\s+", said)
        return [entry for part in found if (entry := _TAIL.sub("", part))]

    def _pieces(self, kind: str) -> list[Piece]:
        if kind not in self._found:
            self._found[kind] = list(self._find(kind))
        return self._found[kind]

    def _find(self, kind: str) -> Iterator[Piece]:
        for match in PATTERNS[kind].finditer(self.text):
            piece = Piece(*match.span(), match[0])
            if kind == "quoted":
                piece = piece._replace(value=match[match.lastindex])
            elif kind == "name":
                piece = self._without_opener(piece)
            elif kind == "number":
                number = match[0].lower().replace(",", "")
                if number in COUNTED:
                    number = str(COUNTED.index(number))
                piece = piece._replace(value=number)
            if piece.value and piece.value.lower() not in NO_NAMES:
                yield piece

    def _without_opener(self, piece: Piece) -> Piece:
        """A name without a first word that is none."""
        first, _, rest = piece.value.partition(" ")
        plain = first.lower().replace("\u2019", "'")
        if plain in OPENERS or words.stem(plain) in self._not_names:
            return Piece(piece.end - len(rest), piece.end, rest)
        return piece

    def _beside(self, piece: Piece, hint: Collection[str]) -> bool:
        before = re.findall(r"[\w'\u2019]+", self.text[: piece.start][-40:])[
            -3:
        ]
        while before and before[-1].lower() in ("is", "are", "of", "the"):
            before.pop()
        near = {words.stem(word) for word in before[-1:]}
        for word in before[-1:]:
            near |= POINTERS.get(word.lower(), frozenset())
        if piece.value[-1].isdigit():  # 5 guests
            after = re.match(r"\s*([^\W\d]+)", self.text[piece.end :][:40])
            near |= {words.stem(after[1])} if after else set()
        return not near.isdisjoint(hint)


def clauses(text: str) -> Iterator[tuple[int, int]]:
    """Where the parts of a text are that could each be a wish.

    It is cut at sentence ends and at "and", and at commas if it lists
    something; never inside quotes.
    """
    safe = PATTERNS["quoted"].sub(lambda match: "q" * len(match[0]), text)
    cuts = list(_BREAK.finditer(safe))
    if lists(text):
        cuts += _COMMA.finditer(safe)
    start = 0
    for cut in sorted(cuts, key=lambda match: match.start()):
        if cut.start() > start:
            yield start, cut.start()
        start = max(start, cut.end())
    if start < len(text):
        yield start, len(text)


def lists(text: str) -> bool:
    """Whether the text has a list with commas and an "and"."""
    _, comma, rest = text.partition(",")
    return bool(comma) and _AND.search(rest) is not None
