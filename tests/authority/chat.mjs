// A person at a page that talks: steps on standard input, what there is to see on standard output. README.md describes the steps.

import { createInterface } from 'node:readline';
import { IGNORED, PATIENCE, launch } from './chromium.mjs';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** What a person sees and hears, and what a test wants to know beside it. */
async function read(page, seen) {
  const shown = await page.evaluate(() => ({
    log: document.getElementById('log').innerText,
    state: document.getElementById('state').innerText,
    elements: [...document.querySelectorAll('#log *')].map((node) => node.tagName.toLowerCase()),
    links: [...document.querySelectorAll('#log a')].map((node) => node.href),
    background: getComputedStyle(document.body).backgroundColor,
  }));
  const names = [];
  const walk = (node) => {
    if (!node) return;
    names.push(`${node.role}: ${(node.name ?? '').trim()}`);
    node.children?.forEach(walk);
  };
  walk(await page.accessibility.snapshot());
  return { ...shown, names, ...seen };
}

/** One step; what it tells. */
async function step(page, seen, { do: what, ...step }) {
  switch (what) {
    case 'open':
      await page.goto(step.url, { waitUntil: 'load' });
      return page.title();
    case 'type':
      await page.type(step.on, step.text);
      return null;
    case 'press':
      await page.keyboard.press(step.key);
      return null;
    case 'click':
      await page.click(step.on);
      return null;
    case 'until':
      await page.waitForFunction((on, text) => document.querySelector(on)?.innerText.includes(text), {}, step.on, step.text);
      return null;
    case 'scheme':
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: step.value }]);
      return null;
    case 'read':
      return read(page, seen);
    default:
      throw new Error(`no such step: ${what}`);
  }
}

const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const seen = { console: [], dialogs: 0 };
  page.on('console', (message) => {
    if (message.type() !== 'error' || IGNORED.some((it) => it.test(message.location().url ?? ''))) return;
    seen.console.push(message.text());
  });
  page.on('pageerror', (error) => seen.console.push(String(error.message)));
  page.on('dialog', (dialog) => {
    seen.dialogs += 1;
    return dialog.dismiss();
  });
  say({ event: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue;
    const { id, ...wanted } = JSON.parse(line);
    try {
      say({ event: 'answer', id, result: await step(page, seen, wanted) });
    } catch (error) {
      const shown = await page.evaluate(() => document.body?.innerText).catch(() => '');
      say({ event: 'answer', id, error: `${error?.message}; the page: ${shown}` });
    }
  }
} finally {
  await browser.close();
}
