// Where the programs under test are.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../../../../..', import.meta.url));

function program(variable, fallback, hint) {
  const path = process.env[variable] ?? `${REPOSITORY}${fallback}`;
  if (!existsSync(path)) throw new Error(`${path} does not exist: ${hint}, or set ${variable}`);
  return path;
}

/** The binary under test. */
export const fanfareBinary = () => program('FANFARE_BIN', 'target/debug/fanfare', 'run cargo build');

/** The real NATS server. */
export const natsServer = () =>
  program('NATS_SERVER', '.tools/venv/bin/nats-server', 'install it as the Makefile does');
