"use strict";

const TRIES = 6; // to reach the service again, within some 20 s
const WAIT = 300; // ms before the first of them; doubled for each further one
const SILENCE = 60_000; // ms after which a connection counts as broken
const PATIENCE = 5_000; // ms for telling the service to stop
// Without it jupyter-server-proxy keeps an answer until it is whole.
const STREAM = { Accept: "text/event-stream" };
const BACK = "Your question is back in the box.";
const ENDS = { // what the service says of an answer that is not complete
  stopped: "Stopped.",
  left: "Stopped, for nobody was reading.",
  length: "Cut: the answer reached the model's limit.",
  filtered: "Cut: the model's provider filtered the rest.",
  refused: "The model refused to answer.",
  interrupted: "Cut: the service restarted.",
  timeout: "Cut: it took too long.",
  model_error: "Cut: the model failed.",
  failed: "Cut: the agent failed.",
};
// What Markdown may become. Pictures are not among it: they are of other sites.
const ALLOWED = {
  ALLOWED_TAGS: `a blockquote br code del em hr li ol p pre strong table tbody
    td th thead tr ul`.split(/\s+/),
  ALLOWED_ATTR: ["href", "start"],
  RETURN_DOM_FRAGMENT: true,
};

const $ = (selector) => document.querySelector(selector);
const [scroller, log, form, stateLine] = ["main", "#log", "form", "#state"].map($);
const [box, stopButton, sendButton] = ["#box", "#stop", "#send"].map($);

let thread = ""; // id of the conversation
let action = new AbortController(); // what is being done
let answer = null; // the one under way
let asks = null; // what the agent wants to know before it goes on
let atEnd = true; // the reader is at the end of the conversation

// --- What is on the page. Texts get there as text, or as the few elements that
// Markdown needs; HTML in them is shown as it is written.

const asText = (text) =>
  text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(/\n/g, "<br>");
marked.use({
  breaks: true,
  renderer: {
    html: ({ text }) => asText(text),
    heading({ tokens }) {
      return `<p><strong>${this.parser.parseInline(tokens)}</strong></p>`;
    },
  },
});

/** The elements of a text in Markdown. */
function markdown(text) {
  const made = DOMPurify.sanitize(marked.parse(text), ALLOWED);
  for (const link of made.querySelectorAll("a")) {
    Object.assign(link, { target: "_blank", rel: "noopener noreferrer" });
  }
  for (const wide of made.querySelectorAll("pre, table")) wide.tabIndex = 0;
  for (const code of made.querySelectorAll("pre")) {
    code.before(copyButton("Copy code", () => code.textContent));
  }
  return made;
}

function copyButton(label, text) {
  const made = element("button", "small", label);
  made.type = "button";
  made.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    say("Copied.");
  });
  return made;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function show(...elements) {
  log.append(...elements);
  toEnd();
}

function toEnd() {
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function message(role, text) {
  const made = element("article", role);
  made.append(element("h2", "", role === "user" ? "You" : "Answer"));
  made.append(element("div", "text", role === "user" ? text : ""));
  made.lastChild.dir = "auto";
  if (role !== "user" && text) made.lastChild.append(markdown(text));
  return made;
}

/** Below an answer: how it ended, and a button that copies it. */
function foot(article, text, outcome) {
  if (ENDS[outcome]) article.append(element("p", "note", ENDS[outcome]));
  if (text) article.append(copyButton("Copy", () => text));
}

/** Show what the agent wants to know; the box or a button answers it. */
function showAsks(all) {
  asks = all;
  for (const { value } of all ?? []) {
    const wants = value?.question ?? value?.action_requests ?? value;
    const text = typeof wants === "string" ? wants : JSON.stringify(wants, null, 1);
    const made = element("div", "notice");
    made.append(element("p", "", `It asks: ${text}`));
    for (const type of value?.action_requests ? ["approve", "reject"] : []) {
      const button = element("button", "", type);
      const decisions = value.action_requests.map(() => ({ type }));
      button.addEventListener("click", () => act(ask, type, { decisions }));
      made.append(button);
    }
    show(made);
  }
}

function setState(text, bad = false) {
  if (stateLine.textContent !== text) stateLine.textContent = text;
  stateLine.classList.toggle("bad", bad);
}

/** Tell a screen reader something, once. */
function say(text) {
  $("#spoken").textContent = text;
  setTimeout(() => ($("#spoken").textContent = ""), PATIENCE);
}

/** Say what went wrong, with a button that is ready after some seconds. */
function notice(text, label, help, seconds = 0) {
  const made = element("div", "notice");
  made.append(element("p", "", text), element("button", "", label));
  const [words, button] = made.children;
  words.setAttribute("role", "alert");
  button.addEventListener("click", help);
  show(made);
  const ready = Date.now() + 1000 * seconds;
  const tick = () => {
    const left = Math.ceil((ready - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `${label} (in ${left} s)` : label;
    if (left > 0 && button.isConnected) setTimeout(tick, 200);
  };
  tick();
}

/** An answer that is being shown, and how far it is. */
class Answer {
  constructor(question, run = null) {
    this.question = question;
    this.run = run; // its id, as soon as that is known
    this.last = 0; // number of the last event
    this.stopping = false;
    this.text = ""; // what has come
    this.cost = 0; // ms that it took to show it
    this.planned = false;
    this.message = message("assistant", "");
    show(this.message);
    this.begin();
  }

  begin() {
    answer = this;
    stopButton.disabled = false;
    this.message.ariaBusy = "true";
    this.working();
  }

  working(what = "Answering… Escape stops it.") {
    setState(this.stopping ? "Stopping…" : what);
  }

  /** Tokens come faster than frames, and a long answer takes a while. */
  add(text) {
    this.text += text;
    if (this.planned) return;
    this.planned = true;
    setTimeout(() => requestAnimationFrame(() => this.flush()), 4 * this.cost);
  }

  flush() {
    if (!this.planned) return;
    this.planned = false;
    const began = performance.now();
    this.message.children[1].replaceChildren(markdown(this.text));
    this.cost = performance.now() - began;
    toEnd();
  }

  clear() {
    this.text = "";
    this.add("");
  }

  end() {
    this.flush();
    this.message.ariaBusy = "false";
  }

  /** Back to the box with the question, if nothing was answered; the service
      has then forgotten it, too. Returns whether that was so. */
  takeBack() {
    this.flush();
    if (this.text) return false;
    if (this.message.previousSibling?.className === "user") {
      this.message.previousSibling.remove();
    }
    this.message.remove();
    giveBack(this.question);
    return true;
  }

  fail(why, seconds) {
    const again = this.takeBack()
      ? [`${why} ${BACK}`, "Send again", () => form.requestSubmit()]
      : [why, "Ask again", () => act(ask, this.question)];
    notice(...again, seconds);
  }

  /** Show an event; true if it is the last one. */
  take({ name, data }) {
    if (name === "tool") this.working(`Using the tool ${data.name}…`);
    if (name === "thinking") this.working("Thinking…");
    if (name === "restart") this.clear();
    if (name === "ask") asks = data.asks;
    if (name === "token") {
      this.working();
      this.add(data.text);
    }
    if (name === "done") this.finish(data.outcome);
    if (name === "error") this.fail(data.message);
    return name === "done" || name === "error";
  }

  finish(outcome) {
    this.end();
    if (outcome === "stopped" || outcome === "left") {
      if (!this.stopping) return this.fail("The answer was stopped before its end.");
      if (!this.takeBack()) foot(this.message, this.text, outcome);
      return say("Stopped.");
    }
    foot(this.message, this.text, outcome);
    say(`Answer: ${this.text}${ENDS[outcome] ? ` ${ENDS[outcome]}` : ""}`);
    if (outcome === "asked") {
      if (!this.text) this.message.remove();
      showAsks(asks);
      say("It asks something.");
    }
  }
}

function giveBack(question) {
  if (box.value !== question) box.value = question + (box.value && `\n${box.value}`);
}

// --- The wire.

/** Yields the events of a stream, wherever it was cut into pieces. */
async function* eventsOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [rest, id, name, data] = ["", 0, "message", []];
  try {
    while (true) {
      const silence = setTimeout(() => reader.cancel(), SILENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/); // the \n of a last \r may come
      rest = lines.pop();
      for (const line of lines) {
        const [, field, text] = line.match(/^([^:]*):? ?(.*)$/s);
        if (field === "id") id = Number(text);
        if (field === "event") name = text;
        if (field === "data") data.push(text);
        if (line) continue;
        if (data.length) yield { id, name, data: JSON.parse(data.join("\n")) };
        [name, data] = ["message", []];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Returns a response, or null if nobody answers. Throws if aborted. */
async function request(signal, path, options = {}, patience = SILENCE) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), patience);
  const either = AbortSignal.any([signal, late.signal]);
  try {
    return await fetch(path, { cache: "no-store", ...options, signal: either });
  } catch {
    signal.throwIfAborted();
    return null;
  } finally {
    clearTimeout(timer);
  }
}

async function readThread(signal, patience) {
  const response = await request(signal, `threads/${thread}`, {}, patience);
  return response?.ok ? response.json().catch(() => null) : null;
}

function connect(signal, { run, last }) {
  return request(signal, `runs/${run}`, { headers: { ...STREAM, "Last-Event-ID": last } });
}

/** Waits before another try; false if there were enough of them. */
async function anotherTry(signal, tries) {
  if (tries === TRIES) return false;
  setState("Reconnecting…", true);
  await new Promise((resolve) => {
    setTimeout(resolve, WAIT * 2 ** tries * (0.75 + Math.random() / 2));
    addEventListener("online", resolve, { once: true });
  });
  signal.throwIfAborted();
  return true;
}

// --- Actions. There is one at a time: a new one ends the one before.

async function act(doing, ...details) {
  action.abort();
  action = new AbortController();
  const { signal } = action;
  for (const old of log.querySelectorAll(".notice")) old.remove();
  rest();
  sendButton.disabled = true;
  try {
    await doing(signal, ...details);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (!signal.aborted) rest();
  }
}

function rest() {
  answer?.end();
  answer = null;
  setState("");
  sendButton.disabled = false;
  // In a frame it must not take the focus from the page around.
  const free = [stopButton, document.body].includes(document.activeElement);
  if (free && (self === top || document.hasFocus())) box.focus();
  stopButton.disabled = true;
}

function random() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Ask, or answer what is asked: with the same words, or with `details`. */
async function ask(signal, question, details = question) {
  const [path, body] = asks
    ? ["answers", { answer: details }]
    : ["runs", { message: question }];
  asks = null;
  const known = log.querySelectorAll(".user").length;
  atEnd = true;
  show(message("user", question));
  const asked = new Answer(question);
  const response = await request(signal, `threads/${thread}/${path}`, {
    method: "POST",
    headers: { ...STREAM, "Content-Type": "application/json", "Idempotency-Key": random() },
    body: JSON.stringify(body),
  });
  if (response?.ok) {
    asked.run = response.headers.get("X-Run-Id");
    return follow(signal, asked, response);
  }
  // It may have arrived: a broken connection hides that, or sends it twice.
  if (!response || response.status === 409) return load(signal, question, known);
  const { detail = "the service failed" } = await response.json().catch(() => ({}));
  const why = [detail].flat().map((part) => part.msg ?? part).join(", ");
  const wait = response.headers.get("Retry-After");
  const seconds = Number(wait) || (Date.parse(wait) - Date.now()) / 1000;
  asked.fail(`Refused (${response.status}): ${why}.`, seconds || 0);
}

/** Show what the service knows of the conversation, and follow its run.
    Perhaps `question`, asked after `known` others, has not arrived there. */
async function load(signal, question = "", known = 0) {
  let found = question ? null : await readThread(signal);
  for (let tries = 0; !found; tries++) {
    if (!(await anotherTry(signal, tries))) {
      const back = answer?.takeBack() ? BACK : "";
      const again = () => act(load, question, known);
      return notice(`The service does not answer. ${back}`, "Reconnect", again);
    }
    found = await readThread(signal);
  }
  const { messages, run } = found;
  const questions = messages.filter(({ role }) => role === "user");
  // What this run has said so far comes as events.
  if (run) messages.splice(messages.lastIndexOf(questions.at(-1)) + 1);
  log.replaceChildren();
  for (const { role, text, outcome } of messages) {
    const made = message(role, text);
    if (role !== "user") foot(made, text, outcome);
    show(made);
  }
  showAsks(run ? null : found.asks);
  if (questions.slice(known).some(({ text }) => text === question)) {
    if (box.value === question) box.value = "";
  } else if (question) {
    giveBack(question);
    const why = `It did not get through. ${BACK}`;
    notice(why, "Send again", () => form.requestSubmit());
  }
  if (run) await resume(signal, new Answer(questions.at(-1)?.text ?? "", run));
}

async function resume(signal, shown) {
  shown.begin();
  await follow(signal, shown, await connect(signal, shown));
}

/** Show a run to its last event, over as many connections as it takes. */
async function follow(signal, shown, response) {
  for (let tries = 0; ; tries++) {
    if (response?.status === 204) return load(signal); // nothing is left of it
    if (response?.status === 404) return shown.fail("The service has lost this answer.");
    try {
      if (response?.ok) shown.working();
      for await (const event of response?.ok ? eventsOf(response.body) : []) {
        if (event.id <= shown.last) continue;
        shown.last = event.id;
        tries = 0;
        if (shown.take(event)) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      console.warn(error);
    }
    // Without a last event it was cut.
    if (!(await anotherTry(signal, tries))) {
      const again = () => act(resume, shown);
      return notice("The connection is lost.", "Reconnect", again);
    }
    response = await connect(signal, shown);
  }
}

/** Stop the answer. The action goes on: the stream says how it ended. */
async function stop() {
  const shown = answer;
  if (!shown || shown.stopping) return;
  shown.stopping = true;
  shown.working();
  const { signal } = new AbortController();
  const run = shown.run ?? (await readThread(signal, PATIENCE))?.run;
  const told = run && (await request(signal, `runs/${run}`, { method: "DELETE" }, PATIENCE));
  // Without a reader the run stops by itself, a bit later.
  if (!told && answer === shown) act(() => shown.finish("stopped"));
}

function openThread() {
  thread = location.hash.slice(1);
  if (!/^[\w-]{1,64}$/.test(thread)) {
    thread = random();
    history.replaceState(null, "", `#${thread}`);
  }
  log.replaceChildren();
  asks = null;
  atEnd = true;
  act(load);
}

// --- The list of conversations.

async function listThreads() {
  const { signal } = new AbortController();
  const response = await request(signal, "threads", {}, PATIENCE);
  const found = response?.ok ? await response.json() : [];
  $("#past .empty").hidden = found.length > 0;
  $("#past ul").replaceChildren(
    ...found.map(({ thread: name, title }) => {
      const [item, link] = [element("li", ""), element("a", "", title)];
      link.href = `#${name}`;
      const button = element("button", "small", "Delete");
      button.setAttribute("aria-label", `Delete: ${title}`);
      button.addEventListener("click", () => forget(signal, name));
      item.append(link, button);
      return item;
    }),
  );
}

async function forget(signal, name) {
  if (name === thread) action.abort();
  await request(signal, `threads/${name}`, { method: "DELETE" });
  if (name === thread) location.hash = "";
  listThreads();
}

// --- What its user does.

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = box.value;
  if (sendButton.disabled || !question.trim()) return;
  box.value = "";
  box.focus();
  act(ask, question);
});
document.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape") stop();
  if (event.key === "Enter" && !event.shiftKey && event.target === box) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stopButton.addEventListener("click", stop);
$("#fresh").addEventListener("click", () => {
  location.hash = "";
  box.focus();
});
$("#past").addEventListener("toggle", ({ target }) => target.open && listThreads());
addEventListener("click", ({ target }) => {
  if (!target.closest("#past button, #past summary")) $("#past").open = false;
});
scroller.addEventListener("scroll", () => {
  atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 30;
});
new ResizeObserver(toEnd).observe(scroller);
addEventListener("hashchange", openThread);
openThread();
