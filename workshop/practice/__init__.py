"""The practice model: an OpenAI-compatible server for the course.

Run it with ``python -m workshop.practice``. The modules build on each
other from top to bottom:

==============  ======================================================
``sessions``    the meter, the queued faults and the pace of a session
``work``        how much work one request may be
``words``       text, cut into tokens and into comparable words
``ask``         what was asked, whichever API it came through
``shapes``      values of a request, and what is said of wrong ones
``rules``       what OpenAI refuses, in its words
``source``      what a prompt offers as arguments
``patterns``    a text that matches a regular expression
``choices``     which of several a text names
``formats``     the form of an answer that a prompt describes
``validity``    whether a value is right for its schema
``schema``      values that follow a JSON schema, from a source
``tools``       which tools to call, and with what
``answers``     the reply to an ask (its texts are in ``answers.toml``)
``endings``     how an answer ends: its limit, and faults in it
``chat``        the wire format of chat completions
``responses``   the wire format of the Responses API
``embeddings``  vectors, and their wire format
``delivery``    an answer on its way: pace, faults, clients that leave
``server``      the ASGI application: routes
==============  ======================================================
"""
