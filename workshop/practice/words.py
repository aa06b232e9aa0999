"""Text in pieces: tokens as they are sent, words as they are compared."""

from __future__ import annotations

import re

# A word or a run of punctuation, each with the space before it.
_TOKEN = re.compile(r"\s?[\w'’]+|\s?[^\w\s]+|\s+")
# Words, also those inside get_weather, getWeather and HTTPServer.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_ENDINGS = ("ation", "ing", "ion", "ed", "es", "s", "e")

# Words that say nothing about what a tool is for.
_FILLER = frozenset(
    "a an the of for to in on at is are be was and or with by from it its "
    "this that these those what which who how much many please me my you "
    "your i we do does did can could would will need want let use using "
    "call tool tools function get fetch retrieve return returns given some "
    "any all about as if into one value input output current string number "
    "integer also then too thanks thank hello hi not no now here".split()
)
# Different words for one thing; the first of each line is the usual one.
_SAME = """
weather temperature forecast rain raining sunny hot cold warm degrees
multiply times product multiplied
add plus sum total
subtract minus difference
divide divided quotient
time clock hour
price cost costs
mail email
search look lookup find google
""".strip().splitlines()


def tokens(text: str) -> list[str]:
    """Cut a text into readable tokens; joined again they are the text."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in _TOKEN.finditer(text))


def stem(word: str) -> str:
    """The part that a word shares with its other forms, roughly."""
    word = word.lower()
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


_USUAL: dict[str, str] = {}
_USUAL.update(
    (stem(word), stem(line.split()[0]))
    for line in _SAME
    for word in line.split()
)


def parts(name: str) -> list[str]:
    """The words of a name such as ``getWeather`` or ``max_results``."""
    return _WORD.findall(name)
