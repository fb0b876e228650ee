// Chromium as the tests drive it.

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

export const PATIENCE = 60_000;
// What nobody's page is at fault for: the font of the provider's development pages, and what a browser asks for of its own accord.
export const IGNORED = [/^https:\/\/fonts\.googleapis\.com\//, /\/favicon\.ico$/];
const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** Chromium as it is installed: `CHROMIUM`, or a program of PATH. */
export function chromium() {
  const named = process.env.CHROMIUM;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const found = named ? [named] : NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  const program = found.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!program) throw new Error(`no Chromium: none of ${NAMES.join(', ')} is on PATH, and CHROMIUM names none`);
  return program;
}

export function launch() {
  return puppeteer.launch({
    executablePath: chromium(),
    // It ends with this process, however that ends.
    pipe: true,
    timeout: PATIENCE,
    protocolTimeout: PATIENCE,
    args: [
      // As root there is no sandbox to be had.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-dev-shm-usage',
      '--no-proxy-server',
      '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1',
    ],
  });
}
