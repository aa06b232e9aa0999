"""The practice model: an OpenAI-compatible server for the course.

Run it with ``python -m workshop.practice``. The modules build on each
other from top to bottom:

==============  ======================================================
``sessions``    the meter, the queued faults and the pace of a session
``ask``         what was asked, whichever API it came through
``words``       text, cut into tokens and into plain words
``schema``      arguments from a prompt, by their JSON schema
``tools``       which tools to call, and with what
``answers``     the reply to an ask (its texts are in ``answers.toml``)
``chat``        the wire format of chat completions
``responses``   the wire format of the Responses API
``embeddings``  vectors
``server``      routes, timing, faults: the ASGI application
==============  ======================================================
"""
