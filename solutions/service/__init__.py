"""A chat service that streams an agent's answers, resumes and stops.

    uvicorn service:app --app-dir solutions

It is the end of lesson 10. What you may want to change, and where:

agent.py     the agent, and the name of the page    the one file to make yours
settings.py  every limit, read from the environment
users.py     who may read what: put your log-in there
page/        how it looks
model.py     the client of the model: what makes it fast
runs.py      what a run is: it streams, ends, is followed and stopped
store.py     what is kept, in SQL that both databases understand
sqlite.py    one machine: a file, and the system's file locks
postgres.py  many machines: a server, and its advisory locks
web.py       headers, logs, slow readers, the end of the process
app.py       the HTTP routes
deploy/      containers, a proxy, and when you outgrow all this
"""

from service.app import create_app

app = create_app(logs=True)
