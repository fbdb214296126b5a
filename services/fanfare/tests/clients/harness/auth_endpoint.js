// The application's own server that authorizes its users, as every user of private channels has one.

import { once } from 'node:events';
import { createServer } from 'node:http';
import PusherServer from 'pusher';

async function formOf(incoming) {
  let text = '';
  for await (const chunk of incoming.setEncoding('utf8')) text += chunk;
  return new URLSearchParams(text);
}

/** Starts one that signs with the secret of `app`, until the test ends; returns its URL. */
export async function authEndpoint(t, app) {
  const pusher = new PusherServer({ appId: app.id, key: app.key, secret: app.secret });
  const server = createServer(async (incoming, outgoing) => {
    const form = await formOf(incoming);
    const answer = pusher.authorizeChannel(form.get('socket_id'), form.get('channel_name'));
    outgoing.setHeader('content-type', 'application/json');
    outgoing.end(JSON.stringify(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}/auth`;
}

/** pusher-js options that send it there. */
export const authorizedBy = (endpoint) => ({ channelAuthorization: { transport: 'ajax', endpoint } });

/** An app whose secret the application got wrong. */
export const withWrongSecret = (app) => ({ ...app, secret: 'not-the-secret' });

/** The auth string for a subscription made by hand. */
export function channelAuth(app, socketId, channel) {
  const pusher = new PusherServer({ appId: app.id, key: app.key, secret: app.secret });
  return pusher.authorizeChannel(socketId, channel).auth;
}
