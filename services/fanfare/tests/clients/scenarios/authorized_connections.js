// Apps that close connections which nobody has vouched for in time.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GUARDED_MS, apps } from '../harness/apps.js';
import { channelAuth } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

const UNAUTHORIZED = 4009;
const app = apps.guarded;

export function authorizedConnections(route) {
  const connect = (t) => RawSocket.connect(t, route.subscribeEdge, app);

  // Each of them waits for the end of the time.
  describe('authorized connections', { concurrency: true }, () => {
    test('§8 one that stays unknown is closed with 4009, whatever public channel it has', async (t) => {
      const begun = performance.now();
      const [idle, listening] = [await connect(t), await connect(t)];
      await listening.subscribe(unique('open'));
      for (const socket of [idle, listening]) assert.equal((await socket.closed()).closed, UNAUTHORIZED);
      const waited = performance.now() - begun;
      assert.ok(waited >= GUARDED_MS, `closed after ${Math.round(waited)} ms`);
    });

    test('pusher-js gives up for good', async (t) => {
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, app);
      await subscriber.error(UNAUTHORIZED);
      await subscriber.gaveUp();
    });

    test('who has signed in, or joined a private or presence channel, stays', async (t) => {
      const [signedIn, inPrivate, inPresence] = [await connect(t), await connect(t), await connect(t)];
      await signedIn.signIn(app, { id: unique('user') });
      const channel = unique('private-room');
      await inPrivate.subscribe(channel, channelAuth(app, await inPrivate.socketId(), channel));
      await inPresence.join(app, unique('presence-room'), { user_id: 'ann' });
      const later = await connect(t);
      await later.closed();
      for (const socket of [signedIn, inPrivate, inPresence]) await socket.ping();
    });

    test('a refused private channel does not count', async (t) => {
      const socket = await connect(t);
      const channel = unique('private-room');
      socket.send({ event: 'pusher:subscribe', data: { channel, auth: 'wrong:signature' } });
      await socket.refusalOf(channel);
      assert.equal((await socket.closed()).closed, UNAUTHORIZED);
    });
  });
}
