// The `pusher` server library as an application uses it.

import { Agent } from 'node:http';
import PusherServer from 'pusher';
import { PATIENCE_MS } from './wait.js';

/** A publisher of `app` at `edge`, with connections kept alive until the test ends. */
export function publisher(t, edge, app) {
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  return new PusherServer({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    host: edge.host,
    port: edge.port,
    useTLS: false,
    agent,
    timeout: PATIENCE_MS,
  });
}

/** The error that a refused request ends with: `status` and `body` are the server's. */
export async function refusal(promise) {
  const response = await promise.catch((error) => error);
  if (response.name !== 'PusherRequestError') throw new Error(`the request was not refused: status ${response.status}`);
  return response;
}
