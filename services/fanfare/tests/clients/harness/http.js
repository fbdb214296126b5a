// Plain HTTP requests, where the libraries are too well-behaved for what a test must send.

import { request as httpRequest } from 'node:http';
import { within } from './wait.js';

/**
 * Sends one request on its own connection and reads the whole answer. `body` is a string, a Buffer or an async iterable
 * of chunks. An answer counts even when the server closes the connection before it has read everything.
 */
export function request({ host = '127.0.0.1', port, method = 'GET', path, headers = {}, body }) {
  const what = `an answer to ${method} ${path.split('?')[0]} on port ${port}`;
  let outgoing;
  const answered = new Promise((resolve, reject) => {
    outgoing = httpRequest({ host, port, method, path, headers, agent: false });
    outgoing.once('error', reject);
    outgoing.once('response', (incoming) => resolve(read(incoming)));
    send(outgoing, body).catch(reject);
  });
  return within(answered, what).finally(() => outgoing.destroy());
}

async function send(outgoing, body) {
  if (body === undefined || typeof body === 'string' || Buffer.isBuffer(body)) {
    outgoing.end(body);
    return;
  }
  for await (const chunk of body) {
    if (outgoing.destroyed) return;
    if (!outgoing.write(chunk)) await drained(outgoing);
  }
  outgoing.end();
}

function drained(outgoing) {
  return new Promise((resolve) => {
    outgoing.once('drain', resolve);
    outgoing.once('close', resolve);
  });
}

async function read(incoming) {
  const chunks = [];
  try {
    for await (const chunk of incoming) chunks.push(chunk);
  } catch (error) {
    if (!incoming.complete) throw error;
  }
  const text = Buffer.concat(chunks).toString('utf8');
  return { status: incoming.statusCode, headers: incoming.headers, text, json: () => JSON.parse(text) };
}
