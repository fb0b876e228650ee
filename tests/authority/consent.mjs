// A person with a browser: opens a link, logs in, consents (or does not), and tells what there was to see. README.md describes the options,
// the steps on standard input, and what is printed.

import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { IGNORED, PATIENCE, chromium, launch } from './chromium.mjs';

/** A URL without the values of its query and its fragment. */
function redacted(text) {
  const url = new URL(text);
  const names = [...url.searchParams.keys()].map((name) => `${name}=…`);
  return `${url.origin}${url.pathname}${names.length > 0 ? `?${names.join('&')}` : ''}${url.hash ? '#…' : ''}`;
}

/** Is this the answer of an authorization server, on its way to the client (RFC 6749 4.1.2; form post)? */
function isCallback(request) {
  const fields = request.method() === 'POST' ? new URLSearchParams(request.postData() ?? '') : new URL(request.url()).searchParams;
  return fields.has('state') && (fields.has('code') || fields.has('error'));
}

/** Name and attributes of a `Set-Cookie` line, without the value. */
function cookieOf(line) {
  const [pair, ...attributes] = line.split(';').map((part) => part.trim());
  const cookie = { name: pair.split('=')[0], is_empty: pair.split('=').slice(1).join('=') === '' };
  for (const attribute of attributes) {
    const [name, ...value] = attribute.split('=');
    cookie[name.toLowerCase()] = value.length > 0 ? value.join('=') : true;
  }
  return cookie;
}

/** Notes what happens on a page. */
async function observe(page, seen) {
  page.on('request', (request) => {
    if (request.isNavigationRequest() && request.frame() === page.mainFrame()) {
      seen.visited.push({ method: request.method(), url: redacted(request.url()), status: null, request });
    }
  });
  page.on('response', (response) => {
    const visit = seen.visited.findLast((it) => it.request === response.request());
    if (visit) visit.status = response.status();
  });
  page.on('console', (message) => {
    const url = message.location().url ?? '';
    if (message.type() !== 'error' || IGNORED.some((it) => it.test(url))) return;
    seen.console.push({ text: message.text(), url: URL.canParse(url) ? redacted(url) : '' });
  });
  page.on('pageerror', (error) => seen.console.push({ text: String(error.message), url: redacted(page.url()) }));
  // What a page was given as cookies, and which of them the browser did not take.
  const session = await page.createCDPSession();
  const urls = new Map();
  session.on('Network.requestWillBeSent', ({ requestId, request }) => {
    urls.set(requestId, [...(urls.get(requestId) ?? []), new URL(request.url)]);
  });
  session.on('Network.responseReceivedExtraInfo', ({ requestId, headers, blockedCookies }) => {
    // One for each hop of a redirect, in their order.
    const url = urls.get(requestId)?.shift();
    if (url && IGNORED.some((it) => it.test(url.href))) return;
    const line = Object.entries(headers).find(([name]) => name.toLowerCase() === 'set-cookie')?.[1];
    for (const cookie of line?.split('\n') ?? []) {
      const blocked = blockedCookies.find((it) => it.cookieLine === cookie);
      seen.cookies.push({ ...cookieOf(cookie), origin: url?.origin ?? '', refused: blocked?.blockedReasons ?? [] });
    }
  });
  await session.send('Network.enable');
}

/** What the page asks of the person: a selector to click, after `login` is typed where it is needed; none: it asks nothing. */
async function ask(page, { deny, login }) {
  const shown = await page.evaluate(() => ({
    prompt: document.querySelector('form input[name="prompt"]')?.value,
    isDevice: document.getElementById('op.deviceConfirmForm') !== null,
    isOnItsWay: document.title === 'Submitting Callback',
  }));
  if (shown.isOnItsWay) return { on: null };
  if (shown.prompt === 'login') {
    await page.type('input[name="login"]', login);
    await page.type('input[name="password"]', 'any');
    return { on: 'button[type="submit"]' };
  }
  if (shown.prompt === 'consent') return { on: deny ? 'a[href$="/abort"]' : 'button[type="submit"]' };
  if (shown.isDevice) return { on: deny ? 'button[name="abort"]' : 'button[autofocus]' };
  return undefined;
}

/**
 * Opens a link in a browser (or one of its profiles) and does what the pages ask for, to the last page.
 * `stop`: the answer to the client is not delivered but given back as `callback`.
 */
async function visit(browser, { url, deny = false, stop = false, login = 'person' }) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const seen = { visited: [], cookies: [], console: [] };
  let callback;
  try {
    await observe(page, seen);
    if (stop) {
      await page.setRequestInterception(true);
      page.on('request', (request) => {
        if (!request.isNavigationRequest() || !isCallback(request)) return void request.continue();
        callback = { method: request.method(), url: request.url(), body: request.postData() ?? null };
        request.respond({ status: 200, contentType: 'text/html', body: '<title>stopped</title><link rel="icon" href="data:,">' });
      });
    }
    let response = await page.goto(url, { waitUntil: 'load' });
    for (let step = 0; step < 10; step += 1) {
      const wanted = await ask(page, { deny, login }).catch((error) => {
        // A page that goes on by itself may do so meanwhile.
        if (/context was destroyed|detached/i.test(error.message)) return { on: null };
        throw error;
      });
      if (wanted === undefined) break;
      if (wanted.on) {
        [response] = await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), page.click(wanted.on)]);
      } else {
        await page.waitForFunction(() => document.title !== 'Submitting Callback' && document.readyState === 'complete');
      }
    }
    return {
      url: page.url(),
      status: seen.visited.at(-1)?.status ?? response?.status() ?? null,
      title: await page.title(),
      text: await page.evaluate(() => document.body?.innerText ?? ''),
      visited: seen.visited.map(({ request, ...visited }) => visited),
      cookies: seen.cookies,
      console: seen.console,
      callback: callback ?? null,
    };
  } finally {
    await page.close();
  }
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** Steps from standard input, each in the profile that it names; a profile is made when it is first named. */
async function steps(browser) {
  const profiles = new Map();
  say({ event: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue;
    const { id, profile = '', ...step } = JSON.parse(line);
    try {
      if (!profiles.has(profile)) profiles.set(profile, await browser.createBrowserContext());
      say({ event: 'answer', id, result: await visit(profiles.get(profile), step) });
    } catch (error) {
      say({ event: 'answer', id, error: String(error?.message) });
    }
  }
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    deny: { type: 'boolean' },
    'stop-before-callback': { type: 'boolean' },
    'second-browser': { type: 'string' },
    login: { type: 'string' },
    steps: { type: 'boolean' },
    find: { type: 'boolean' },
  },
});
if (options.find) {
  console.log(chromium());
  process.exit(0);
}
if (positionals.length !== (options.steps ? 0 : 1)) {
  console.error('usage: node consent.mjs LINK [--deny] [--stop-before-callback] [--second-browser URL] [--login NAME]\n       node consent.mjs --steps | --find');
  process.exit(2);
}
const browser = await launch();
try {
  if (options.steps) {
    await steps(browser);
  } else {
    const { deny, login, 'stop-before-callback': stop, 'second-browser': second } = options;
    const result = await visit(await browser.createBrowserContext(), { url: positionals[0], deny, stop, login });
    if (second) result.second = await visit(await browser.createBrowserContext(), { url: second, login });
    say(result);
  }
} finally {
  await browser.close();
}
