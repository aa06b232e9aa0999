"""Wrong answers to the check of lesson 00."""

from tests.wrong import changed

changed(
    "00.1",
    """
    the reply came in 1 piece: nothing was streamed
    - async for chunk in llm.astream(question):
    -     if chunk.text:
    -         found.append(chunk.text)
    + found.append((await llm.ainvoke(question)).text)

    the list holds chunks, not their texts: `chunk.text`
    - found.append(chunk.text)
    + found.append(chunk)

    some pieces are empty: keep those that have text
    - if chunk.text:
    + if True:

    `for chunk in llm.stream(question):` blocks the event loop
    - async for chunk in llm.astream(question):
    + for chunk in llm.stream(question):

    it returned None, not a list of pieces: is a `return` missing?
    - return found

    it returned a str, not a list of pieces
    - return found
    + return "".join(found)

    only 1 piece came back: is `return` inside the loop?
    - found.append(chunk.text)
    + return [chunk.text]

    the list is not the pieces as they came
    - async for chunk in llm.astream(question):
    -     if chunk.text:
    -         found.append(chunk.text)
    - return found
    + return (await llm.ainvoke(question)).text.split(" ")

    the model was not asked the question, once
    - async for chunk in llm.astream(question):
    + async for chunk in llm.astream("What is LangGraph?"):
    """,
)
