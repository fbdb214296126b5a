// Frames that no proper client sends: an answer that explains, and nobody else harmed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

/** Text frames that are answered with an error while the connection stays. */
const WRONG_TEXTS = {
  'not JSON': 'hello',
  'the empty text': '',
  'half an object': '{"event":"pusher:ping"',
  'a list': '["pusher:ping"]',
  'a number': '42',
  null: 'null',
  'no event': '{"data":{}}',
  'an event that is no string': '{"event":7}',
  'an unknown event': '{"event":"pusher:dance","data":{}}',
  'an event of no kind': '{"event":"hello","data":{}}',
  'an internal event': '{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}',
  'deep nesting': `{"event":"pusher:subscribe","data":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
  '30 KB of text': 'x'.repeat(30_000),
};

const HUGE_BYTES = 16 * 1024 * 1024;

export function rawFrames(route) {
  const open = (t) => RawSocket.connect(t, route.subscribeEdge, apps.main);

  /** Somebody else, and a check that an event still gets to them. */
  async function bystander(t) {
    const subscription = await (
      await Subscriber.connect(t, route.subscribeEdge, apps.main)
    ).subscribe(unique('bystander'));
    return async () => {
      await publisher(t, route.publishEdge, apps.main).trigger(subscription.name, 'still-here', 1);
      await subscription.event('still-here');
    };
  }

  describe('raw frames', () => {
    test('pusher:ping is answered with pusher:pong, with or without data', async (t) => {
      const socket = await open(t);
      const pings = [
        '{"event":"pusher:ping","data":{}}',
        '{"event": "pusher:ping"}',
        '{"event":"pusher:ping","data":"{}"}',
      ];
      for (const ping of pings) socket.send(ping);
      const pongs = await socket.events('pusher:pong', pings.length);
      assert.ok(pongs.every(({ data }) => data === '{}'));
    });

    test('a WebSocket ping is answered with its payload', async (t) => {
      const socket = await open(t);
      const answered = new Promise((resolve) => socket.ws.once('pong', (payload) => resolve(payload.toString())));
      socket.ws.ping('are you there');
      await socket.ping();
      assert.equal(await answered, 'are you there');
    });

    test('§18.43 an unasked pusher:pong is ignored', async (t) => {
      const socket = await open(t);
      socket.send({ event: 'pusher:pong', data: {} });
      await socket.ping();
      assert.equal(socket.all('pusher:error').length, 0);
    });

    for (const [what, text] of Object.entries(WRONG_TEXTS)) {
      test(`${what} is answered with an error, and the connection stays`, async (t) => {
        const unharmed = await bystander(t);
        const socket = await open(t);
        socket.send(text);
        await socket.happened.find(({ event }) => event?.endsWith('error'), 'an error');
        for (const { data } of socket.all('pusher:error')) {
          assert.equal(data.code, null);
          assert.ok(data.message.length > 0, 'an explanation');
        }
        await socket.ping();
        await socket.subscribe(unique('afterwards'));
        await unharmed();
      });
    }

    test('§18.39 a frame of 60 KB is read', async (t) => {
      const socket = await open(t);
      socket.send({ event: 'pusher:ping', data: { padding: 'x'.repeat(60_000) } });
      await socket.event('pusher:pong');
    });

    test('a binary frame closes with 1003', async (t) => {
      const unharmed = await bystander(t);
      const socket = await open(t);
      socket.send(Buffer.from('{"event":"pusher:ping"}'), { binary: true });
      assert.equal((await socket.closed()).closed, 1003);
      await unharmed();
    });

    test('text that is not UTF-8 closes with 1007', async (t) => {
      const unharmed = await bystander(t);
      const socket = await open(t);
      socket.send(Buffer.from([0x22, 0xff, 0xfe, 0x22]), { binary: false });
      assert.equal((await socket.closed()).closed, 1007);
      await unharmed();
    });

    test('§18.39 a huge frame is refused, at once or by closing', async (t) => {
      const unharmed = await bystander(t);
      const socket = await open(t);
      socket.send('x'.repeat(HUGE_BYTES));
      // The peer may be gone before the whole frame is written; then the close frame can be lost with the connection.
      const { closed } = await socket.happened.find(
        (item) => item.closed ?? item.event === 'pusher:error',
        'a close or an error',
      );
      assert.ok([1009, 1006, undefined].includes(closed), `closed with ${closed}`);
      await unharmed();
    });

    test('a frame in many fragments is one frame', async (t) => {
      const socket = await open(t);
      const text = '{"event":"pusher:ping","data":{}}';
      [...text].forEach((character, index) => socket.ws.send(character, { fin: index === text.length - 1 }));
      await socket.event('pusher:pong');
    });

    test('many connections that misbehave at once', async (t) => {
      const unharmed = await bystander(t);
      const sockets = await Promise.all(Array.from({ length: 20 }, () => open(t)));
      for (const socket of sockets) {
        Object.values(WRONG_TEXTS).forEach((text) => socket.send(text));
        socket.ws.terminate();
      }
      await unharmed();
    });
  });
}
