// Where the programs under test are, and those that test them.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../../../../..', import.meta.url));

function program(variable, fallback, hint) {
  const path = process.env[variable] ?? `${REPOSITORY}${fallback}`;
  if (!existsSync(path)) throw new Error(`${path} does not exist: ${hint}, or set ${variable}`);
  return path;
}

/** The binary under test. */
export const fanfareBinary = () => program('FANFARE_BIN', 'target/debug/fanfare', 'run cargo build');

/** That of the last release, if there is one. */
export function previousBinary() {
  const path = process.env.FANFARE_PREVIOUS_BIN ?? `${REPOSITORY}target/previous/fanfare`;
  return existsSync(path) ? path : undefined;
}

/** The real NATS server. */
export const natsServer = () =>
  program('NATS_SERVER', '.tools/venv/bin/nats-server', 'install it as the Makefile does');

/** A Python that has the libraries `pusher` and `ably`. */
export const python = () =>
  program('FANFARE_TEST_PYTHON', '.tools/venv/bin/python', 'install it with deploy/dev/tools.sh');

const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome'];

/** Chromium, or what is made of it. */
export function chromiumBrowser() {
  const named = process.env.FANFARE_TEST_CHROMIUM;
  const folders = process.env.PATH.split(delimiter);
  const candidates = named ? [named] : folders.flatMap((folder) => BROWSERS.map((name) => join(folder, name)));
  const path = candidates.find(existsSync);
  if (!path) throw new Error('found no chromium: install it, or set FANFARE_TEST_CHROMIUM');
  return path;
}
