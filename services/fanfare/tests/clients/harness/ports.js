// Free TCP ports on loopback.

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which the kernel takes the local ports of outgoing connections: a server that is restarted on
// its port must not find that port taken by somebody's client.
const FIRST = 15_000;
const END = 32_000;
const ATTEMPTS = 200;

const taken = new Set();

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A port that nobody listens on and that this process has not handed out before. */
export async function freePort() {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST, END);
    if (taken.has(port)) continue;
    taken.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`found no free port in ${ATTEMPTS} attempts`);
}

/** `count` different free ports. */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}
