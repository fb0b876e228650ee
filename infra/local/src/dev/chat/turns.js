// A user's side of the channel, without its I/O: frames and happenings in, what to send and what to show out. The rules are those of
// infra/local/src/chat/turns.rs: each event once and in its place, over any number of connections; a turn that the bridge may have is looked
// for, and not sent again.

const MAX_EARLY = 4096;
const MAX_STALLS = 3;

/** Acts: {send: frame} | {reconnect: true} | {show: kind, …}. */
export class Turns {
  constructor(agent, session) {
    Object.assign(this, { agent, session, connected: false, turn: null, latest: null });
  }

  get busy() {
    return this.turn !== null;
  }

  /** Something is due from the bridge at once, not only when the agent gets to it. */
  get waiting() {
    return this.connected && this.turn !== null && (this.turn.place !== 'known' || this.turn.early.size > 0);
  }

  ask(prompt, mark) {
    return this.#begin({ mark, prompt, place: 'unsent' });
  }

  /** Shows the session's latest answer, however far it is. */
  catchUp() {
    return this.#begin({ mark: null, prompt: '', place: 'looking' });
  }

  open() {
    this.connected = true;
    return this.#goOn();
  }

  lost() {
    this.connected = false;
    if (this.turn) this.turn.askedFrom = null;
  }

  cancel() {
    if (!this.turn) return [];
    this.turn.unwanted = true;
    if (this.turn.place === 'unsent') return this.#end('cancelled');
    return this.turn.place === 'known' && this.connected ? [this.#cancelFrame()] : [];
  }

  /** What is due did not come. */
  stalled() {
    const turn = this.turn;
    if (!turn) return [];
    turn.stalls += 1;
    const hopeless = turn.stalls > MAX_STALLS;
    if (turn.place === 'unsent') return [];
    if (turn.place === 'sent' && !hopeless) return this.#look();
    if (!hopeless) return [{ reconnect: true }];
    if (turn.place !== 'known') return this.#notFound();
    return this.#end('lost', { code: 'events_missing', message: 'the bridge does not give the events that are missing' });
  }

  frame(text) {
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      return [];
    }
    if (value === null || typeof value !== 'object') return [];
    if (value.type === 'error') return this.#error(value);
    if (value.type === 'session.joined') return this.#joined(value);
    if (typeof value.type === 'string') return value.type.startsWith('response.') ? this.#event(value) : [];
    return typeof value.message === 'string' ? this.#gateway(value.message) : [];
  }

  #begin(turn) {
    if (this.turn) return [];
    this.turn = { ...turn, id: null, next: 0, early: new Map(), askedFrom: null, stalls: 0, unwanted: false, late: false, texts: new Map() };
    return this.connected ? this.#goOn() : [];
  }

  #goOn() {
    const turn = this.turn;
    if (!turn) return [];
    if (turn.place === 'unsent') {
      turn.place = 'sent';
      const metadata = { session_id: this.session, turn: turn.mark };
      return [{ send: { type: 'response.create', model: this.agent || 'agent', input: turn.prompt, store: false, metadata } }];
    }
    if (turn.place !== 'known') return this.#look();
    turn.askedFrom = turn.next;
    return [this.#resumeFrame(turn.id, turn.next), ...(turn.unwanted ? [this.#cancelFrame()] : [])];
  }

  #look() {
    this.turn.place = 'looking';
    return [{ send: { type: 'session.join', session_id: this.session, ...(this.agent ? { agent: this.agent } : {}) } }];
  }

  #joined(frame) {
    if (this.turn?.place !== 'looking') return [];
    const latest = frame.latest_response_id ?? null;
    if (latest === null || latest === this.latest) return this.#notFound();
    Object.assign(this.turn, { place: 'comparing', id: latest });
    return [this.#resumeFrame(latest, 0)];
  }

  /** The session's latest response is not the turn. */
  #notFound() {
    const turn = this.turn;
    if (turn.mark === null) return this.#end('nothing');
    if (!turn.late) return this.#end('unknown');
    if (turn.unwanted) return this.#end('cancelled');
    Object.assign(turn, { late: false, place: 'unsent' });
    return this.#goOn();
  }

  #error(frame) {
    const refusal = { code: String(frame.error?.code ?? 'unknown'), message: String(frame.error?.message ?? 'the bridge does not say why') };
    const turn = this.turn;
    if (refusal.code === 'websocket_connection_limit_reached') {
      if (turn?.place === 'sent') turn.late = true;
      return [{ reconnect: true }];
    }
    const passing = frame.status === 429 || frame.status >= 500;
    if (turn?.place === 'sent') return this.#end('refused', refusal);
    if (!passing && (turn?.place === 'looking' || turn?.place === 'comparing')) return this.#notFound();
    // Others are about something else: that there is nothing left to be cancelled, for example.
    if (turn?.place === 'known' && turn.askedFrom !== null && frame.status === 404) return this.#end('lost', refusal);
    return [{ show: 'notice', ...refusal }];
  }

  #gateway(message) {
    return this.turn?.place === 'sent' ? this.#look() : [{ show: 'notice', code: 'gateway', message }];
  }

  #event(event) {
    if (event.type === 'response.created') {
      const acts = this.#recognise(event);
      if (acts) return acts;
    }
    const turn = this.turn;
    if (!turn || !this.#isOf(event)) return [];
    const number = event.sequence_number;
    if (!Number.isInteger(number)) return this.#apply(event);
    if (number < turn.next) return [];
    if (number > turn.next) {
      if (turn.early.size < MAX_EARLY) turn.early.set(number, event);
      return this.#askForMissing();
    }
    return this.#inPlace(event);
  }

  #recognise(event) {
    const turn = this.turn;
    if (!turn || turn.place === 'unsent' || turn.place === 'known') return null;
    const id = event.response?.id;
    const candidate = turn.place === 'comparing' && turn.id === id;
    const isIt = turn.mark === null ? candidate : event.response?.metadata?.turn === turn.mark;
    if (!isIt) return candidate ? this.#notFound() : null;
    Object.assign(turn, { place: 'known', id });
    this.latest = id;
    const cancel = turn.unwanted ? [this.#cancelFrame()] : [];
    return [{ show: 'accepted', id }, ...cancel, ...this.#inPlace(event)];
  }

  #inPlace(first) {
    const acts = [];
    for (let event = first; event; ) {
      Object.assign(this.turn, { next: event.sequence_number + 1, askedFrom: null, stalls: 0 });
      acts.push(...this.#apply(event));
      if (!this.turn) return acts;
      const { early, next } = this.turn;
      event = early.get(next);
      early.delete(next);
    }
    return [...acts, ...this.#askForMissing()];
  }

  #askForMissing() {
    const turn = this.turn;
    if (turn.early.size === 0 || turn.askedFrom === turn.next) return [];
    turn.askedFrom = turn.next;
    return [this.#resumeFrame(turn.id, turn.next)];
  }

  #apply(event) {
    const { type, item, item_id: id, response } = event;
    switch (type) {
      case 'response.queued':
        return [{ show: 'queued' }];
      case 'response.in_progress':
        return [{ show: 'started' }];
      case 'response.output_item.added':
        if (item?.type !== 'message') return [];
        this.turn.texts.set(item.id, '');
        return [{ show: 'message', id: item.id, commentary: item.phase === 'commentary' }];
      case 'response.output_text.delta':
        return this.#text(id, (this.turn.texts.get(id) ?? '') + String(event.delta));
      case 'response.output_text.done':
        return this.#text(id, String(event.text));
      case 'response.output_item.done':
        return item?.type === 'function_call' ? [{ show: 'call', name: String(item.name) }] : [];
      case 'response.completed':
        return this.#end('completed');
      case 'response.failed':
        return this.#end('failed', { code: response?.error?.code ?? 'unknown', message: response?.error?.message ?? 'nobody said why' });
      case 'response.incomplete': {
        const reason = response?.incomplete_details?.reason ?? 'unknown';
        return response?.status === 'cancelled' || reason === 'cancelled' ? this.#end('cancelled') : this.#end('incomplete', { code: reason });
      }
      default:
        return [];
    }
  }

  #text(id, text) {
    this.turn.texts.set(id, text);
    return [{ show: 'text', id, text }];
  }

  /** An event names the response, or one of its items, whose names follow from the response's. */
  #isOf(event) {
    const { place, id } = this.turn;
    if (place !== 'known') return false;
    if (event.response) return event.response.id === id;
    const rest = `${id.replace(/^resp_/, '')}_${event.output_index}`;
    const item = event.item_id ?? event.item?.id;
    return item === `msg_${rest}` || item === `fc_${rest}`;
  }

  #end(how, refusal = {}) {
    this.turn = null;
    return [{ show: 'ended', how, ...refusal }];
  }

  #resumeFrame(id, next) {
    return { send: { type: 'response.resume', response_id: id, ...(next > 0 ? { starting_after: next - 1 } : {}) } };
  }

  #cancelFrame() {
    return { send: { type: 'response.cancel', response_id: this.turn.id } };
  }
}
