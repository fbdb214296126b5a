// Opening a connection, and being refused one.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps, unknownApp } from '../harness/apps.js';
import { request } from '../harness/http.js';
import { RawSocket, clientPath } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

const SOCKET_ID = /^\d+\.\d+$/;

export function connecting(route) {
  const open = (t, path, options) => new RawSocket(t, route.subscribeEdge, path, options);

  describe('connecting', () => {
    test('pusher-js connects and learns a socket id', async (t) => {
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, apps.main);
      assert.match(subscriber.socketId, SOCKET_ID);
      assert.deepEqual(subscriber.states.items, ['connected']);
    });

    test('§18.1 §18.2 the first frame is the greeting, double encoded', async (t) => {
      const socket = open(t, clientPath(apps.main.key));
      const greeting = await socket.greeting();
      const [first] = socket.frames;
      assert.equal(first.event, 'pusher:connection_established');
      assert.equal(typeof first.data, 'string');
      assert.match(greeting.socket_id, SOCKET_ID);
      assert.ok(Number.isInteger(greeting.activity_timeout) && greeting.activity_timeout > 0, 'activity_timeout');
    });

    test('socket ids differ', async (t) => {
      const edges = [route.subscribeEdge, route.publishEdge, route.subscribeEdge];
      const sockets = await Promise.all(edges.map((edge) => RawSocket.connect(t, edge, apps.main)));
      const ids = await Promise.all(sockets.map((socket) => socket.socketId()));
      assert.equal(new Set(ids).size, ids.length);
    });

    for (const protocol of [4, 5, 6, 7, null]) {
      test(`protocol ${protocol ?? 'left out'} is accepted`, async (t) => {
        await RawSocket.connect(t, route.subscribeEdge, apps.main, { protocol });
      });
    }

    for (const protocol of ['3', '8', '0', '-7', 'seven', '']) {
      test(`protocol ${JSON.stringify(protocol)} is closed with 4007`, async (t) => {
        const socket = open(t, clientPath(apps.main.key, { protocol }));
        await socket.upgraded();
        assert.equal((await socket.closed()).closed, 4007);
      });
    }

    test('§18.3 an unknown key is closed with 4001 after the upgrade', async (t) => {
      const socket = open(t, clientPath(unknownApp.key));
      await socket.upgraded();
      const { closed, reason } = await socket.closed();
      assert.equal(closed, 4001);
      assert.ok(reason.length > 0, 'a reason for the developer');
      assert.deepEqual(socket.frames, [], 'protocol 7 reports a fatal error by the close frame only');
    });

    test('protocol 5 is told of a fatal error before the close', async (t) => {
      const socket = open(t, clientPath(unknownApp.key, { protocol: 5 }));
      assert.equal((await socket.closed()).closed, 4001);
      assert.deepEqual(
        socket.frames.map(({ event, data }) => [event, data.code]),
        [['pusher:error', 4001]],
      );
    });

    test('pusher-js gives up for good on an unknown key', async (t) => {
      const subscriber = new Subscriber(t, route.subscribeEdge, unknownApp);
      await subscriber.error(4001);
      await subscriber.states.find((state) => state === 'disconnected', 'the state disconnected');
    });

    test('a disabled app is closed with 4003', async (t) => {
      const subscriber = new Subscriber(t, route.subscribeEdge, apps.disabled);
      await subscriber.error(4003);
      await subscriber.states.find((state) => state === 'disconnected', 'the state disconnected');
    });

    test('the offered Pusher subprotocol is selected', async (t) => {
      const socket = open(t, clientPath(apps.main.key), { subprotocols: ['pusher-channels-protocol-7'] });
      await socket.greeting();
      assert.equal(socket.ws.protocol, 'pusher-channels-protocol-7');
    });

    test('without an offer no subprotocol is named', async (t) => {
      const socket = open(t, clientPath(apps.main.key));
      const headers = await socket.upgraded();
      assert.equal(headers['sec-websocket-protocol'], undefined);
    });

    test('a plain GET is answered 426', async () => {
      const { status } = await request({ port: route.subscribeEdge.port, path: clientPath(apps.main.key) });
      assert.equal(status, 426);
    });

    test('an upgrade on another path is closed with 4005', async (t) => {
      const socket = open(t, '/somewhere/else?protocol=7');
      assert.equal((await socket.closed()).closed, 4005);
    });
  });
}
