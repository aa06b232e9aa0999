"""Judge the check of lesson 00."""

from __future__ import annotations

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    Answer,
    ScriptedModel,
    Wrong,
    expect,
    result,
)

QUESTIONS = {"Why does streaming matter?": 1, "Is there any bread?": 9}


async def streams_pieces(answer: Answer) -> str:
    """00.1: stream the answer, return the list of pieces that have text."""
    for question, times in QUESTIONS.items():
        tokens = [*AWKWARD_TOKENS * times, question]
        model = ScriptedModel.watching(
            answer, lambda _, tokens=tokens: ["", *tokens, ""]
        )
        value = await result(answer, llm=model, question=question)

        pieces = expect(value, list, "a list of pieces")
        if any(not isinstance(piece, str) for piece in pieces):
            raise Wrong("the list holds chunks, not their texts: `chunk.text`")
        model.must_be_used("llm")
        model.watch.must_not_block()
        if [call.got for call in model.calls] != [[question]]:
            raise Wrong("the model was not asked the question, once")
        if pieces == ["".join(tokens)]:
            raise Wrong("the reply came in 1 piece: nothing was streamed")
        if len(pieces) == 1:
            raise Wrong("only 1 piece came back: is `return` inside the loop?")
        if "" in pieces:
            raise Wrong("some pieces are empty: keep those that have text")
        if pieces != tokens:
            raise Wrong("the list is not the pieces as they came")
    return f"streamed: the reply came in {len(pieces)} pieces of 1 request"


JUDGES = {"00.1": streams_pieces}
