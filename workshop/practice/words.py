"""Text in pieces: tokens as they are sent, words as they are compared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

# A word or a run of punctuation, each with the space before it.
_TOKEN = re.compile(r"\s?[\w'\u2019]+|\s?[^\w\s]+|\s+")
# Where a token begins for certain.
_GAP = re.compile(r"(?<=\S)\s")
PIECE = 4000  # characters
# Words, also those inside get_weather, getWeather and HTTPServer.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_ENDINGS = ("ation", "ing", "ion", "ed", "er", "est", "e")

VOCABULARY = tomllib.loads(
    Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8")
)


def tokens(text: str) -> list[str]:
    """Cut a text into readable tokens; joined again they are the text."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """How many tokens a text has.

    A long one is counted in pieces, so that nobody waits for all of it.
    """
    found = start = 0
    while start < len(text):
        cut = _GAP.search(text, start + PIECE)
        end = cut.start() if cut else len(text)
        found += len(_TOKEN.findall(text, start, end))
        start = end
    return found


def stem(word: str) -> str:
    """The part that a word shares with its other forms, roughly."""
    word = word.lower()
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    if word.endswith("y"):
        word = word[:-1] + "i"
    return _USUAL.get(word, word)


def stems(text: str) -> list[str]:
    """The words of a text that say something, each as its stem."""
    found = (word.lower() for word in _WORD.findall(text))
    return [stem(word) for word in found if word not in _FILLER]


def parts(name: str) -> list[str]:
    """The words of a name such as ``getWeather`` or ``max_results``."""
    return _WORD.findall(name)


def listed(name: str) -> frozenset[str]:
    """A list of the vocabulary, as stems."""
    return frozenset(map(stem, VOCABULARY[name].split()))


_USUAL: dict[str, str] = {}
_FILLER = frozenset(VOCABULARY["filler"].split())
for _line in VOCABULARY["same"]:
    _same = [stem(word) for word in _line.split()]
    _USUAL |= dict.fromkeys(_same, _same[0])
