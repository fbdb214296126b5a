// The `pusher` server library as an application uses it.

import { Agent } from 'node:http';
import PusherServer from 'pusher';
import { ENCRYPTION_KEY } from './auth_endpoint.js';
import { PATIENCE_MS } from './wait.js';

/** A publisher of `app` at `edge`, with all its connections kept alive until the test ends, unless told otherwise. */
export function publisher(t, edge, app, { timeout = PATIENCE_MS, keepAlive = true, maxSockets } = {}) {
  const agent = new Agent({ keepAlive, maxSockets });
  t.after(() => agent.destroy());
  return new PusherServer({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    encryptionMasterKeyBase64: ENCRYPTION_KEY,
    host: edge.host,
    port: edge.port,
    useTLS: false,
    agent,
    timeout,
  });
}

/** The error that a refused request ends with: `status` and `body` are the server's. */
export async function refusal(promise) {
  const response = await promise.catch((error) => error);
  if (response.name !== 'PusherRequestError') throw new Error(`the request was not refused: status ${response.status}`);
  return response;
}

/** Whether a failed request was answered with: not accepted, try again. */
export const nothingWasDone = ({ status, body }) => status === 503 && body.includes('nothing was done');

/** Whether a failed request may have published all the same: it was answered so, or not at all. */
export const isOutcomeUnknown = ({ name, status, body }) =>
  name === 'PusherRequestError' && (status === undefined || (status === 503 && body.includes('outcome unknown')));
