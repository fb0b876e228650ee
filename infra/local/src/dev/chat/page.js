// The page: the socket, its reconnects, and what there is to see.

import { nodes } from '/chat/markdown.js';
import { Turns } from '/chat/turns.js';

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const DUE_WITHIN = 20_000;

const by = (id) => document.getElementById(id);
const [log, state, form, prompt, agent, session] = ['log', 'state', 'form', 'prompt', 'agent', 'session'].map(by);

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');

session.value = sessionStorage.getItem('session') ?? `page-${random()}`;
agent.value = sessionStorage.getItem('agent') ?? '';

let turns = new Turns(agent.value.trim(), session.value.trim().toLowerCase());
let socket = null;
let pause = FIRST_PAUSE;
let retry = 0;
let due = 0;
let answer = null;

function show(kind, text) {
  state.dataset.state = kind;
  state.textContent = text;
}

function article(who, mine) {
  const node = document.createElement('article');
  if (mine) node.className = 'mine';
  const heading = document.createElement('h2');
  heading.textContent = who;
  node.append(heading);
  log.append(node);
  return node;
}

function note(text, bad) {
  const node = document.createElement('p');
  node.className = bad ? 'note bad' : 'note';
  node.textContent = text;
  (answer?.node ?? log).append(node);
  if (!answer) {
    const holder = article('Clawbridge', false);
    holder.append(node);
  }
  scroll();
}

function scroll() {
  log.scrollTop = log.scrollHeight;
}

function begin() {
  answer = { node: article(turns.agent || 'Agent', false), messages: new Map() };
  answer.node.setAttribute('aria-busy', 'true');
}

function message(id, commentary) {
  const node = document.createElement('div');
  node.className = commentary ? 'text commentary' : 'text';
  answer.node.append(node);
  answer.messages.set(id, node);
  return node;
}

const ENDS = {
  completed: () => null,
  nothing: () => null,
  cancelled: () => 'Cancelled.',
  incomplete: ({ code }) => `The answer ends early: ${code}.`,
  failed: ({ code, message }) => `Failed: ${message} (${code})`,
  refused: ({ code, message }) => `Refused: ${message} (${code})`,
  unknown: () => 'The connection broke while this was sent. Whether the agent gets it is not known; it was not sent again.',
  lost: ({ code, message }) => `The rest of this answer cannot be had: ${message} (${code})`,
};

function ended(act) {
  const text = ENDS[act.how](act);
  if (text) note(text, act.how !== 'cancelled');
  answer?.node.removeAttribute('aria-busy');
  if (answer && act.how === 'nothing') answer.node.remove();
  answer = null;
  by('cancel').disabled = true;
  by('send').disabled = false;
  if (turns.connected) show('connected', 'connected');
}

const SHOW = {
  accepted: () => show('accepted', 'the bridge has it'),
  queued: () => show('queued', 'queued: it waits until the agent is connected and free'),
  started: () => show('answering', 'the agent has it'),
  message: ({ id, commentary }) => message(id, commentary),
  text: ({ id, text }) => {
    (answer.messages.get(id) ?? message(id, false)).replaceChildren(...nodes(text));
    scroll();
  },
  call: ({ name }) => note(`The agent calls the function ${name}, which this page does not have.`),
  notice: ({ code, message: text }) => note(`${text} (${code})`, true),
  ended,
};

function perform(acts) {
  for (const act of acts) {
    if (act.send) socket.send(JSON.stringify(act.send));
    else if (act.reconnect) leave();
    else SHOW[act.show](act);
  }
  clearTimeout(due);
  if (turns.waiting) due = setTimeout(() => perform(turns.stalled()), DUE_WITHIN);
}

/** What the page is to connect with; asked for each time: `dev` makes another token at each start. */
async function credentials() {
  const got = await fetch('/chat/session', { method: 'POST', cache: 'no-store' });
  if (!got.ok) throw new Error(`the bridge answers ${got.status}`);
  return got.json();
}

async function connect() {
  clearTimeout(retry);
  if (socket) return;
  show('connecting', 'connecting …');
  // Set at once, so that there is one attempt at a time.
  const mine = { close() {} };
  socket = mine;
  try {
    const { url, token } = await credentials();
    if (socket !== mine) return;
    socket = new WebSocket(url, ['clawbridge.v1', `bearer.${token}`]);
  } catch (error) {
    if (socket !== mine) return;
    socket = null;
    again(error.message);
    return;
  }
  const opened = socket;
  let wasOpen = false;
  opened.onopen = () => {
    wasOpen = true;
    pause = FIRST_PAUSE;
    show('connected', 'connected');
    perform(turns.open());
  };
  opened.onmessage = ({ data }) => {
    if (socket === opened && typeof data === 'string') perform(turns.frame(data));
  };
  opened.onclose = () => {
    if (socket === opened) gone(wasOpen);
  };
}

function gone(wasOpen = true) {
  socket = null;
  turns.lost();
  // A connection that nobody needs is made again with the next message.
  if (turns.busy) again(wasOpen ? 'the connection is gone' : 'the channel does not take the connection');
  else if (!wasOpen) show('failed', 'the channel does not take the connection; the next message tries again');
  else show('idle', 'not connected; the next message connects');
}

function again(why) {
  const wait = pause * (0.5 + Math.random() / 2);
  pause = Math.min(pause * 2, LONGEST_PAUSE);
  show('failed', `${why}; trying again in ${Math.ceil(wait / 1000)} s`);
  retry = setTimeout(connect, wait);
}

function leave() {
  const left = socket;
  if (!left) return;
  left.onclose = null;
  left.close();
  gone();
}

function start(acts) {
  by('cancel').disabled = false;
  by('send').disabled = true;
  if (turns.connected) perform(acts);
  else connect();
}

function switchTo(name) {
  if (turns.busy) return;
  session.value = name;
  sessionStorage.setItem('session', name);
  sessionStorage.setItem('agent', agent.value.trim());
  const { connected } = turns;
  turns = new Turns(agent.value.trim(), name.trim().toLowerCase());
  turns.connected = connected;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = prompt.value.trim();
  if (text === '' || turns.busy) return;
  if (session.value.trim() === '') session.value = `page-${random()}`;
  if (session.value.trim().toLowerCase() !== turns.session || agent.value.trim() !== turns.agent) switchTo(session.value.trim());
  const said = document.createElement('p');
  said.textContent = text;
  article('You', true).append(said);
  begin();
  prompt.value = '';
  scroll();
  start(turns.ask(text, random()));
});

prompt.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});

by('cancel').addEventListener('click', () => perform(turns.cancel()));

by('new').addEventListener('click', () => {
  if (turns.busy) return;
  switchTo(`page-${random()}`);
  log.replaceChildren();
  prompt.focus();
});

addEventListener('online', () => {
  if (turns.busy && !socket) connect();
});

if (sessionStorage.getItem('session')) {
  // The tab was here before: what was answered last, or is being answered.
  begin();
  start(turns.catchUp());
} else {
  sessionStorage.setItem('session', session.value);
  connect();
}
prompt.focus();
