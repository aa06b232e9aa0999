"""A chat service that streams an agent's answers, resumes and stops.

    uvicorn service:app --app-dir solutions

It is the end of lesson 10. What you may want to change, and where:

agent.py     the agent, and the name of the page    the one file to make yours
settings.py  every limit, read from the environment
users.py     who may read what: put your log-in there
page/        how it looks
model.py     the client of the model: what makes it fast
listener.py  which words of a graph are its answer
run.py       one answer: what its reader sees of it
runs.py      all of them: they start, stream, are followed, stop and end
memory.py    what the agent remembers of a thread
store.py     what is kept, in SQL that both databases understand
sqlite.py    one machine: a file, and the system's file locks
postgres.py  many machines: a server, and its advisory locks
web.py       headers, logs, slow readers, the end of the process
app.py       the HTTP routes
deploy/      containers, a proxy, and when you outgrow all this
"""

from service.app import create_app

app = create_app(logs=True)
