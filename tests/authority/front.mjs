// What stands between the tests and the provider: it passes requests on, counts them, and fails as it was told to. A request is read whole
// before it is passed on, and the answer before it is given back, so that a fault can come before the provider has acted or after it.

import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

const ENDPOINTS = {
  '/auth': 'authorization',
  '/token': 'token',
  '/token/revocation': 'revocation',
  '/token/introspection': 'introspection',
  '/device/auth': 'device_authorization',
  '/me': 'userinfo',
  '/jwks': 'jwks',
  '/.well-known/openid-configuration': 'discovery',
  '/.well-known/oauth-authorization-server': 'discovery',
};
const OF_FAULTS = new Set(['endpoint', 'grant', 'times', 'acted', 'delay_ms', 'hold', 'status', 'headers', 'body', 'cut']);
const CUTS = new Set(['answer', 'headers', 'body']);
// Of this hop only (RFC 9110, 7.6.1).
const HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length']);

export class Front {
  #faults = [];
  #held = new Set();
  #inner;
  #number = 0;
  #grants = new Map();
  counts = {};
  secrets = new Set();

  /** `say` is told of each request to the token endpoint. */
  constructor(say) {
    this.say = say;
    this.server = http.createServer((request, response) => {
      // Who has gone away gets no answer, and nothing else comes of it.
      response.on('error', () => {});
      this.#serve(request, response).catch((error) => {
        this.say({ event: 'front.error', error: String(error?.message) });
        response.destroy();
      });
    });
    // A connection that closes by itself in the middle of a test would be a fault that nobody ordered.
    this.server.keepAliveTimeout = 600_000;
  }

  /** Listens on the loopback address; resolves to the port. */
  listen() {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(0, '127.0.0.1', () => resolve(this.server.address().port));
    });
  }

  /** Where the provider listens. */
  passTo(port) {
    this.#inner = port;
  }

  /** The grant of a token request that the provider has acted on. */
  acted(number, grant) {
    this.#grants.set(number, grant);
  }

  /** The next requests that fit it will fail like this. */
  addFault(fault) {
    const unknown = Object.keys(fault).filter((key) => !OF_FAULTS.has(key));
    if (unknown.length > 0) throw new Error(`a fault has no ${unknown.join(', ')}`);
    const endpoint = fault.endpoint ?? 'token';
    if (!Object.values(ENDPOINTS).includes(endpoint)) throw new Error(`no endpoint ${endpoint}`);
    if (fault.cut !== undefined && !CUTS.has(fault.cut)) throw new Error(`cut is one of ${[...CUTS].join(', ')}`);
    this.#faults.push({ ...fault, endpoint, times: fault.times ?? 1 });
  }

  /** Ends all faults; those that wait go on. */
  clearFaults() {
    this.#faults = [];
    return this.release();
  }

  /** Lets the requests go on that a fault holds; how many these were. */
  release() {
    const held = [...this.#held];
    this.#held.clear();
    for (const go of held) go();
    return held.length;
  }

  #faultFor(endpoint, grant) {
    const fault = this.#faults.find((it) => it.endpoint === endpoint && (it.grant === undefined || it.grant === grant));
    if (!fault) return {};
    fault.times -= 1;
    if (fault.times <= 0) this.#faults.splice(this.#faults.indexOf(fault), 1);
    return fault;
  }

  async #serve(request, response) {
    const body = await whole(request);
    const endpoint = ENDPOINTS[request.url.split('?')[0]];
    const number = (this.#number += 1);
    const count = endpoint ? (this.counts[endpoint] = (this.counts[endpoint] ?? 0) + 1) : 0;
    const form = endpoint === 'token' ? new URLSearchParams(body.toString()) : new URLSearchParams();
    const grant = form.get('grant_type') ?? undefined;
    const fault = endpoint ? this.#faultFor(endpoint, grant) : {};
    // With an answer of its own, or none, the provider need not be asked.
    const isReplaced = fault.status !== undefined || fault.body !== undefined || fault.cut !== undefined;

    let answer;
    if (!fault.acted) await this.#wait(fault, endpoint, count);
    if (fault.acted || !isReplaced) answer = await this.#pass(request, body, number);
    this.#note(answer);
    if (endpoint === 'token') this.say(this.#tokenEvent(request, form, { number, count, fault, answer }));
    if (fault.acted) await this.#wait(fault, endpoint, count);
    give(response, fault, answer);
  }

  async #wait(fault, endpoint, count) {
    if (fault.delay_ms) await pause(fault.delay_ms);
    if (!fault.hold) return;
    const released = new Promise((resolve) => this.#held.add(resolve));
    this.say({ event: 'held', endpoint, count });
    await released;
  }

  /** Asks the provider. */
  #pass(request, body, number) {
    const headers = { ...request.headers, 'x-request-number': String(number), 'content-length': String(body.length) };
    for (const name of ['connection', 'transfer-encoding', 'expect']) delete headers[name];
    return new Promise((resolve, reject) => {
      const { method, url: path } = request;
      const passed = http.request({ host: '127.0.0.1', port: this.#inner, method, path, headers, agent: false }, (answer) => {
        const kept = [];
        for (let i = 0; i < answer.rawHeaders.length; i += 2) {
          if (!HOP.has(answer.rawHeaders[i].toLowerCase())) kept.push(answer.rawHeaders[i], answer.rawHeaders[i + 1]);
        }
        whole(answer).then((bytes) => resolve({ status: answer.statusCode, headers: kept, body: bytes }), reject);
      });
      passed.on('error', reject);
      passed.end(body);
    });
  }

  /** Keeps every credential that the provider gives, so that a test can look for them where they must not be. */
  #note(answer) {
    const given = json(answer);
    for (const name of ['access_token', 'refresh_token', 'id_token', 'device_code']) {
      if (typeof given?.[name] === 'string') this.secrets.add(given[name]);
    }
  }

  #tokenEvent(request, form, { number, count, fault, answer }) {
    const [client, authentication] = clientOf(request, form);
    const given = json(answer);
    const grantId = this.#grants.get(number) ?? null;
    this.#grants.delete(number);
    return {
      event: 'token',
      count,
      grant: form.get('grant_type') ?? '',
      client,
      authentication,
      dpop: request.headers.dpop !== undefined,
      // What the provider decided, whatever the client gets to see of it.
      result: answer === undefined ? 'not_asked' : answer.status === 200 ? 'ok' : (given?.error ?? 'unknown'),
      status: fault.cut ? null : (fault.status ?? (fault.body === undefined ? answer?.status : 200)),
      fault: Object.keys(fault).length > 0,
      grant_id: grantId,
    };
  }
}

function whole(stream) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('end', () => resolve(Buffer.concat(chunks)));
    stream.on('error', reject);
    stream.on('close', () => reject(new Error('closed early')));
  });
}

function json(answer) {
  if (answer === undefined) return undefined;
  try {
    return JSON.parse(answer.body.toString());
  } catch {
    return undefined;
  }
}

/** The client, and how it has proven who it is. */
function clientOf(request, form) {
  const basic = /^Basic (.+)$/i.exec(request.headers.authorization ?? '');
  if (basic) {
    const [id] = Buffer.from(basic[1], 'base64').toString().split(':');
    return [decodeURIComponent(id), 'client_secret_basic'];
  }
  const assertion = form.get('client_assertion');
  if (assertion) {
    try {
      return [JSON.parse(Buffer.from(assertion.split('.')[1], 'base64url').toString()).sub ?? '', 'private_key_jwt'];
    } catch {
      return ['', 'private_key_jwt'];
    }
  }
  return [form.get('client_id') ?? '', form.has('client_secret') ? 'client_secret_post' : 'none'];
}

function give(response, fault, answer) {
  const isOwn = fault.status !== undefined || fault.body !== undefined;
  const status = isOwn ? (fault.status ?? 200) : (answer?.status ?? 200);
  const headers = isOwn ? Object.entries(fault.headers ?? {}).flat() : (answer?.headers ?? []);
  const body = isOwn ? Buffer.from(fault.body ?? '') : (answer?.body ?? Buffer.from('{"access_token":"'));
  if (fault.cut === 'answer') {
    response.destroy();
    return;
  }
  response.writeHead(status, [...headers, 'content-length', String(body.length)]);
  if (fault.cut === 'headers') {
    response.flushHeaders();
    response.socket?.end();
  } else if (fault.cut === 'body') {
    response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.socket?.end());
  } else {
    response.end(body);
  }
}
