"""The wire format of ``POST /v1/embeddings``, and the vectors in it.

Texts that share words point in similar directions; nothing is random.
"""

from __future__ import annotations

import array
import base64
import hashlib
import json
import math
import re
import sys
from typing import Any

from workshop.practice import rules, work
from workshop.practice.ask import Script

DIMENSIONS = 1536
PER_WORD = 8  # dimensions that a word adds to, or takes from


def script(body: dict[str, Any]) -> Script:
    """The answer to a request; raises Problem where that is wrong."""
    rules.check_embeddings(body)
    model, texts = body["model"], body["input"]
    size = body.get("dimensions") or DIMENSIONS
    if isinstance(texts, str) or type(texts[0]) is int:
        texts = [texts]
    inputs = [_words(text) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    tokens = sum(map(len, inputs))
    going = work.mine()
    # One by one, so that other threads get their turn between two of them.
    entries = [
        json.dumps(
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector(text, size), as_base64),
            }
        )
        for index, text in enumerate(inputs)
        if going.spend()
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = json.dumps({"object": "list", "model": model, "usage": usage})
    data = f'{rest[:-1]}, "data": [{", ".join(entries)}]}}'
    return Script([data.encode()], 0, streamed=False)


def vector(text: list[str], size: int) -> list[float]:
    """A unit vector for a text, given as its words."""
    sums = [0.0] * size
    sums[0] = 0.001  # so that a text without words has a direction too
    for word in text:
        digest = hashlib.blake2b(word.encode(), digest_size=4 * PER_WORD)
        for draw in array.array("I", digest.digest()):
            sums[(draw >> 1) % size] += 1.0 if draw & 1 else -1.0
    length = math.hypot(*sums) or 1.0
    return [part / length for part in sums]


def _words(text: str | list[int]) -> list[str]:
    if isinstance(text, str):
        return re.findall(r"\w+|[^\w\s]", text.lower())
    return [str(number) for number in text]


def _encoded(numbers: list[float], as_base64: bool) -> list[float] | str:
    if not as_base64:
        return numbers
    packed = array.array("f", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()
