// The application's own server that vouches for its users, as every user of private channels has one.

import { once } from 'node:events';
import { createServer } from 'node:http';
import PusherServer from 'pusher';

/** The key from which those of encrypted channels are made; known to the application and to nobody else. */
export const ENCRYPTION_KEY = Buffer.from('0123456789abcdef0123456789abcdef').toString('base64');

const library = (app) =>
  new PusherServer({ appId: app.id, key: app.key, secret: app.secret, encryptionMasterKeyBase64: ENCRYPTION_KEY });

async function formOf(incoming) {
  let text = '';
  for await (const chunk of incoming.setEncoding('utf8')) text += chunk;
  return new URLSearchParams(text);
}

const isPresence = (channel) => channel.startsWith('presence-');

/**
 * Starts one that signs with the secret of `app`, until the test ends; returns its URL. Whoever asks is `member` (with
 * `user_id` and `user_info`) on presence channels and `user` (with `id`) when signing in.
 */
export async function authEndpoint(t, app, { member, user } = {}) {
  const pusher = library(app);
  const answers = {
    '/auth': (form) => {
      const channel = form.get('channel_name');
      return pusher.authorizeChannel(form.get('socket_id'), channel, isPresence(channel) ? member : undefined);
    },
    '/user': (form) => pusher.authenticateUser(form.get('socket_id'), user),
  };
  const server = createServer(async (incoming, outgoing) => {
    const answer = answers[incoming.url](await formOf(incoming));
    // A page of another origin asks, too.
    outgoing.setHeader('access-control-allow-origin', '*');
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
export const authorizedBy = (endpoint) => ({
  channelAuthorization: { transport: 'ajax', endpoint },
  userAuthentication: { transport: 'ajax', endpoint: new URL('user', endpoint).href },
});

/** pusher-js options of somebody: `{ member, user }` as for `authEndpoint`. */
export const identifiedAs = async (t, app, identity) => authorizedBy(await authEndpoint(t, app, identity));

/** An app whose secret the application got wrong. */
export const withWrongSecret = (app) => ({ ...app, secret: 'not-the-secret' });

/** The auth string for a subscription made by hand. */
export const channelAuth = (app, socketId, channel) => library(app).authorizeChannel(socketId, channel).auth;

/** `auth` and `channel_data` for joining a presence channel by hand; a `member` that is a string is signed as it is. */
export function memberAuth(app, socketId, channel, member) {
  if (typeof member !== 'string') return library(app).authorizeChannel(socketId, channel, member);
  const token = new PusherServer.Token(app.key, app.secret);
  return { auth: `${app.key}:${token.sign(`${socketId}:${channel}:${member}`)}`, channel_data: member };
}

/** `auth` and `user_data` for signing in by hand; a `user` that is a string is signed as it is. */
export function userAuth(app, socketId, user) {
  const data = typeof user === 'string' ? user : JSON.stringify(user);
  const token = new PusherServer.Token(app.key, app.secret);
  return { auth: `${app.key}:${token.sign(`${socketId}::user::${data}`)}`, user_data: data };
}
