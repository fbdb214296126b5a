// How connections are refused and ended, by protocol version.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps, unknownApp } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { RawSocket, clientPath } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

/** Every protocol version that is spoken. Before 6, a `pusher:error` precedes the close frame. */
const VERSIONS = [4, 5, 6, 7];
const TELLS_FIRST = (version) => version < 6;
const LONGEST_REASON_BYTES = 123;

export function closeCodes(route) {
  let edge;
  before(() => (edge = route.subscribeEdge));
  const open = (t, app, protocol) => new RawSocket(t, edge, clientPath(app.key, { protocol }));

  /** The end of a connection: by this code, with an event before it if the version is told so. */
  async function endsWith(socket, code, protocol) {
    await socket.upgraded();
    const { closed, reason } = await socket.closed();
    assert.equal(closed, code);
    assert.ok(reason.length > 0 && Buffer.byteLength(reason) <= LONGEST_REASON_BYTES, `the reason ${reason}`);
    const errors = socket.all('pusher:error').map(({ data }) => data);
    assert.deepEqual(
      errors.map((error) => error.code),
      TELLS_FIRST(protocol) ? [code] : [],
    );
    for (const { message } of errors) assert.ok(message.length > 0, 'an explanation');
  }

  describe('close codes', () => {
    for (const protocol of VERSIONS) {
      test(`§9 protocol ${protocol}: unknown key 4001, disabled app 4003`, async (t) => {
        await endsWith(open(t, unknownApp, protocol), 4001, protocol);
        await endsWith(open(t, apps.disabled, protocol), 4003, protocol);
      });

      test(`§18.42 protocol ${protocol}: over the quota of connections 4004, and free again later`, async (t) => {
        const first = await RawSocket.connect(t, edge, apps.single, { protocol });
        await endsWith(open(t, apps.single, protocol), 4004, protocol);
        first.ws.close();
        await first.closed();
        let next;
        do {
          next = open(t, apps.single, protocol);
          await next.happened.find((item) => item.closed ?? item.event, 'an answer');
        } while (next.all('pusher:connection_established').length === 0);
        next.ws.close();
        await next.closed();
      });

      test(`§8 protocol ${protocol}: a bad sign-in is told, then closed with 4009`, async (t) => {
        const socket = await RawSocket.connect(t, edge, apps.main, { protocol });
        await socket.beginSignIn({ ...apps.main, secret: 'wrong' }, { id: 'bob' });
        assert.equal((await socket.closed()).closed, 4009);
        const codes = socket.all('pusher:error').map(({ data }) => data.code);
        assert.ok(codes.length > 0 && codes.every((code) => code === 4009), String(codes));
      });
    }

    test('§9 an app that demands TLS: 4000 without it, unless a proxy in front has ended it', async (t) => {
      await endsWith(open(t, apps.tlsOnly, 7), 4000, 7);
      const headers = { 'x-forwarded-proto': 'https' };
      await RawSocket.connect(t, edge, apps.tlsOnly, { headers });
    });

    test('§18.40 an origin that is not allowed: 4009', async (t) => {
      const from = (origin) => new RawSocket(t, edge, clientPath(apps.pages.key), { origin });
      for (const origin of ['https://app.example.com', 'http://a.shop.example:8080']) await from(origin).greeting();
      for (const origin of ['http://app.example.com', 'https://shop.example', 'https://evil.example', 'null']) {
        await endsWith(from(origin), 4009, 7);
      }
    });

    for (const protocol of [1, 2, 3, 8]) {
      test(`§1 protocol ${protocol}: 4007`, async (t) => {
        const socket = open(t, apps.main, protocol);
        assert.equal((await socket.closed()).closed, 4007);
      });
    }

    test('§18.7 every code is a number or null', async (t) => {
      const socket = await RawSocket.connect(t, edge, apps.main);
      for (const frame of ['no JSON', '{"event":"pusher:dance"}', '{"event":"client-x","channel":"open","data":1}']) {
        socket.send(frame);
      }
      const errors = await socket.events('pusher:error', 3);
      for (const { data } of errors) assert.ok(data.code === null || Number.isInteger(data.code), JSON.stringify(data));
    });

    test('§18.45 another key on the same pusher-js is a plain new connection', async (t) => {
      const subscriber = await Subscriber.connect(t, edge, apps.main);
      const first = await subscriber.subscribe(unique('open'));
      subscriber.pusher.switchCluster({ appKey: apps.listing.key, cluster: 'self-hosted' });
      await subscriber.connected(2);
      const again = () => first.noticed('subscription_succeeded').length === 2;
      await first.notices.until(again, 'the channel to be subscribed again');
    });
  });
}
