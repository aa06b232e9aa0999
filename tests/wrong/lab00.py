"""Wrong answers to the check of lesson 00."""

from tests.wrong import wrong


@wrong("00.1", "the reply came in 1 piece: nothing was streamed")
async def waits_for_the_whole_reply(llm, question):
    return [(await llm.ainvoke(question)).text]


@wrong("00.1", "the list holds chunks, not their texts: `chunk.text`")
async def keeps_the_chunks(llm, question):
    return [chunk async for chunk in llm.astream(question)]


@wrong("00.1", "some pieces are empty: keep those that have text")
async def keeps_empty_pieces(llm, question):
    return [chunk.text async for chunk in llm.astream(question)]


@wrong(
    "00.1",
    "`return [c.text for c in llm.stream(question) if c.text]` "
    "blocks the event loop",
)
async def streams_without_async(llm, question):
    return [c.text for c in llm.stream(question) if c.text]


@wrong(
    "00.1",
    "it returned None, not a list of pieces: is a `return` missing?",
)
async def prints_instead(llm, question):
    async for chunk in llm.astream(question):
        print(chunk.text, end="|")


@wrong("00.1", "it returned a str, not a list of pieces")
async def joins_the_pieces(llm, question):
    return "".join([chunk.text async for chunk in llm.astream(question)])


@wrong("00.1", "only 1 piece came back: is `return` inside the loop?")
async def returns_the_first(llm, question):
    async for chunk in llm.astream(question):
        if chunk.text:
            return [chunk.text]


@wrong("00.1", "the list is not the pieces as they came")
async def splits_the_whole_reply(llm, question):
    return (await llm.ainvoke(question)).text.split(" ")


@wrong("00.1", "the model was not asked the question, once")
async def asks_something_else(llm, question):
    stream = llm.astream("What is LangGraph?")
    return [chunk.text async for chunk in stream if chunk.text]
