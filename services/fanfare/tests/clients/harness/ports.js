// Free TCP ports on loopback.

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which the kernel takes the local ports of outgoing connections: a server that is restarted on
// its port must not find that port taken by somebody's client. And below those that the Rust suites take, which run at the
// same time.
const FIRST = 8_000;
const END = 12_000;
/** Ports come in blocks: who listens on the first one of a block may hand out the others. */
const BLOCK = 100;
const ATTEMPTS = 200;

/** What is left of the block of this process. Until it ends, no other one hands out these, used or not. */
let mine = [];

/** A server that listens there, or undefined if the port is taken. */
function listener(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

async function isFree(port) {
  const server = await listener(port);
  if (!server) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

/** The ports of a block that nobody else has. */
async function claimBlock() {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const first = FIRST + BLOCK * randomInt((END - FIRST) / BLOCK);
    const claim = await listener(first);
    if (!claim) continue;
    claim.unref();
    return Array.from({ length: BLOCK - 1 }, (_, index) => first + 1 + index);
  }
  throw new Error(`found no free block of ports in ${ATTEMPTS} attempts`);
}

/** A port that nobody listens on and that no process of these tests hands out again. */
export async function freePort() {
  for (;;) {
    if (mine.length === 0) mine = await claimBlock();
    const port = mine.shift();
    if (await isFree(port)) return port;
  }
}

/** `count` different free ports. */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}
