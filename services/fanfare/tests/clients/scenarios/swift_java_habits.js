// What the clients for Java, Android and Swift do differently from pusher-js.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { once } from '../harness/wait.js';

export function swiftJavaHabits(route) {
  let edge;
  before(() => (edge = route.subscribeEdge));

  describe('habits of Swift', () => {
    for (const version of [4, 5, 6, 7]) {
      test(`§1 the offered pusher-channels-protocol-${version} is chosen`, async (t) => {
        const offered = `pusher-channels-protocol-${version}`;
        const socket = await RawSocket.connect(t, edge, apps.main, { subprotocols: [offered] });
        assert.equal(socket.ws.protocol, offered);
      });
    }

    test('§1 of several offers the one that is spoken is chosen', async (t) => {
      const subprotocols = ['soap', 'pusher-channels-protocol-99', 'pusher-channels-protocol-7'];
      const socket = await RawSocket.connect(t, edge, apps.main, { subprotocols });
      assert.equal(socket.ws.protocol, 'pusher-channels-protocol-7');
    });

    test('§2 a WebSocket ping is answered with its payload, however often', async (t) => {
      const socket = await RawSocket.connect(t, edge, apps.main);
      for (const payload of ['', 'one', 'x'.repeat(125)]) {
        const pong = once(socket.ws, 'pong', 'a pong');
        socket.ws.ping(payload);
        assert.equal(String(await pong), payload);
      }
    });
  });

  describe('habits of Java and Android', () => {
    const path = (protocol) => `/app/${apps.main.key}?client=java-client&protocol=${protocol}&version=2.4.4`;

    test('§1 parameters in another order, protocol 5', async (t) => {
      const socket = new RawSocket(t, edge, path(5));
      await socket.greeting();
    });

    test('§2 pusher:ping without data is answered with data', async (t) => {
      const socket = new RawSocket(t, edge, path(5));
      await socket.greeting();
      socket.send('{"event": "pusher:ping"}');
      assert.equal((await socket.event('pusher:pong')).data, '{}');
    });

    test('§18.8 subscription_succeeded has data, and the server never sends pusher:ping', async (t) => {
      const socket = new RawSocket(t, edge, path(5));
      await socket.greeting();
      const channel = unique('open');
      await socket.subscribe(channel);
      assert.equal((await socket.event('pusher_internal:subscription_succeeded')).data, '{}');
      const presence = await socket.join(apps.main, unique('presence-room'), { user_id: 'ann' });
      assert.deepEqual(presence.ids, ['ann'], 'Java reads ids');
      assert.deepEqual(socket.all('pusher:ping'), []);
    });

    test('members beside event, channel and data do no harm: data is still a string', async (t) => {
      const socket = new RawSocket(t, edge, path(5));
      await socket.greeting();
      const channel = unique('open');
      await socket.subscribe(channel);
      await publisher(t, route.publishEdge, apps.main).trigger(channel, 'event', { a: 1 });
      const { text, ...frame } = await socket.event('event');
      assert.equal(frame.data, '{"a":1}');
      for (const [name, value] of Object.entries(frame)) assert.equal(typeof value, 'string', `${name} in ${text}`);
    });
  });
}
