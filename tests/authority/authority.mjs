// An authorization server for a test. The first line of standard input is its settings (JSON), each further line a command; each line of
// standard output is an event or the answer to a command. It ends with standard input. README.md describes all of them.

import http from 'node:http';
import { createInterface } from 'node:readline';
import { Front } from './front.mjs';
import { clientOf, makeProvider, revokeGrant, settingsOf, watch } from './provider.mjs';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function start(given) {
  const settings = settingsOf(given);
  const front = new Front(say);
  const issuer = `http://${settings.host}:${await front.listen()}`;
  const provider = makeProvider(issuer, settings);
  const grants = new Map();
  watch(provider, say, {
    acted: (number, grant) => front.acted(number, grant),
    code: (value) => front.secrets.add(value),
    grant: (id, client, account) => grants.set(id, { client, account }),
  });
  const inner = http.createServer(provider.callback());
  await new Promise((resolve) => inner.listen(0, '127.0.0.1', resolve));
  front.passTo(inner.address().port);
  const server = { front, grants, provider, settings };
  await COMMANDS.clients(server, { clients: settings.clients });
  say({ event: 'ready', issuer });
  return server;
}

const COMMANDS = {
  /** Adds clients, and replaces those that have the same id. */
  async clients({ provider }, { clients }) {
    for (const client of clients.map(clientOf)) {
      if (typeof client.client_id !== 'string') throw new Error('a client needs its client_id');
      await provider.Client.adapter.upsert(client.client_id, client);
      // Its metadata is checked where it is read.
      await provider.Client.find(client.client_id);
    }
  },
  /** Changes settings that are read at each request. */
  set({ settings }, { settings: given }) {
    const fixed = ['clients', 'host', 'scopes'].filter((key) => key in given);
    if (fixed.length > 0) throw new Error(`not while it runs: ${fixed.join(', ')}`);
    settingsOf(given);
    Object.assign(settings, given);
  },
  fault({ front }, { fault }) {
    front.addFault(fault);
  },
  clear({ front }) {
    return front.clearFaults();
  },
  release({ front }) {
    return front.release();
  },
  /** Revokes the grants of a client, or of one account with it; how many these were. */
  async revoke({ provider, grants }, { client, account }) {
    const fits = (it) => it.client === client && (account === undefined || it.account === account);
    const ids = [...grants].filter(([, it]) => fits(it)).map(([id]) => id);
    for (const id of ids) {
      await revokeGrant(provider, id);
      grants.delete(id);
      say({ event: 'revoked', grant: id });
    }
    return ids.length;
  },
  /** Would this token still be taken? */
  async active({ provider }, { token }) {
    for (const model of [provider.AccessToken, provider.ClientCredentials, provider.RefreshToken]) {
      const found = await model.find(token);
      if (found && !found.consumed) return true;
    }
    return false;
  },
  counts({ front }) {
    return front.counts;
  },
  secrets({ front }) {
    return [...front.secrets];
  },
  /** Nothing; every event of what happened before stands before its answer. */
  sync() {},
};

async function run(server, line) {
  const { id, command, ...rest } = JSON.parse(line);
  try {
    if (!Object.hasOwn(COMMANDS, command)) throw new Error(`no command ${command}; there are ${Object.keys(COMMANDS).join(', ')}`);
    say({ event: 'answer', id, result: (await COMMANDS[command](server, rest)) ?? null });
  } catch (error) {
    say({ event: 'answer', id, error: [error.message, error.error_description].filter(Boolean).join(': ') });
  }
}

let server;
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  if (server === undefined) server = await start(JSON.parse(line));
  else await run(server, line);
}
process.exit(0);
