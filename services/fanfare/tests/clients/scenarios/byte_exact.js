// Event data arrives exactly as it was published.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher, refusal } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { signedPost } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';

const LIMIT_BYTES = 10_240;

const TEXTS = {
  'plain text': 'not JSON at all',
  'the empty string': '',
  'white space': ' \t\r\n ',
  'null in quotes': 'null',
  'true in quotes': 'true',
  'an empty JSON string': '""',
  'spacing and member order': '{ "b" : 1 ,\n  "a":[ 1,2 , 3 ] }',
  'numbers no double can hold': '{"huge":1e400,"tiny":-1e-400,"long":12345678901234567890123,"zeros":1.000}',
  'a doubled member': '{"a":1,"a":2}',
  unicode: 'Zoë 🚀 日本語 العربية \u2028\u2029\ufeff e\u0301',
  escapes: '"\\ \\" \\/ \\u00e9 \\ud83d\\ude80 \\n"',
  'control characters': Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join('') + '\u007f',
  markup: '<script>alert("&amp;")</script>',
  'text that looks like a frame': '{"event":"pusher:error","data":{"code":4001}}',
};

const SIZES = {
  ASCII: 'x'.repeat(LIMIT_BYTES),
  'two bytes each': 'é'.repeat(LIMIT_BYTES / 2),
  'four bytes each': '🚀'.repeat(LIMIT_BYTES / 4),
  'all to be escaped': '"'.repeat(LIMIT_BYTES),
  'all control characters': '\u0001'.repeat(LIMIT_BYTES),
};

export function byteExact(route) {
  async function listening(t) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
    const channel = unique('exact');
    await socket.subscribe(channel);
    return { socket, channel, pusher: publisher(t, route.publishEdge, apps.main) };
  }

  describe('data is byte-exact', () => {
    for (const [what, text] of Object.entries(TEXTS)) {
      test(what, async (t) => {
        const { socket, channel, pusher } = await listening(t);
        await pusher.trigger(channel, 'event', text);
        assert.equal((await socket.event('event')).data, text);
        await pusher.triggerBatch([{ channel, name: 'batched', data: text }]);
        assert.equal((await socket.event('batched')).data, text);
      });
    }

    for (const [what, text] of Object.entries(SIZES)) {
      test(`${LIMIT_BYTES} bytes pass and one more is 413: ${what}`, async (t) => {
        const { socket, channel, pusher } = await listening(t);
        await pusher.trigger(channel, 'event', text);
        assert.ok((await socket.event('event')).data === text, 'the data differs');
        const one = await refusal(pusher.trigger(channel, 'too-large', `${text}x`));
        assert.equal(one.status, 413);
        const batch = [
          { channel, name: 'in-batch', data: 'small' },
          { channel, name: 'in-batch', data: `${text}x` },
        ];
        assert.equal((await refusal(pusher.triggerBatch(batch))).status, 413);
        await pusher.trigger(channel, 'last', 1);
        await socket.event('last');
        assert.deepEqual(
          [socket.all('too-large'), socket.all('in-batch')],
          [[], []],
          'a refused request delivers nothing',
        );
      });
    }

    test('a full batch of the largest events passes', async (t) => {
      const { socket, channel, pusher } = await listening(t);
      const data = '\u0001'.repeat(LIMIT_BYTES);
      await pusher.triggerBatch(Array.from({ length: 10 }, () => ({ channel, name: 'large', data })));
      const events = await socket.events('large', 10);
      assert.ok(
        events.every((frame) => frame.data === data),
        'the data differs',
      );
    });

    test('every way to write a string in the request body is the same string', async (t) => {
      const { socket, channel } = await listening(t);
      const body = `{ "name":"\\u0065vent", "channels":["${channel}"],\n"data":"\\u00e9\\/\\ud83d\\ude80\\u0000" }`;
      assert.equal((await signedPost(route.publishEdge, apps.main, '/events', body)).status, 200);
      assert.equal((await socket.event('event')).data, 'é/🚀\u0000');
    });

    test('data that is an object is its text without white space', async (t) => {
      const { socket, channel } = await listening(t);
      const body = `{"name":"event","channel":"${channel}","data":{ "b": [1, 2.50], "a": "\\u00e9 x" }}`;
      assert.equal((await signedPost(route.publishEdge, apps.main, '/events', body)).status, 200);
      assert.equal((await socket.event('event')).data, '{"b":[1,2.50],"a":"\\u00e9 x"}');
    });

    test('pusher-js decodes what is JSON and keeps what is not', async (t) => {
      const subscription = await (
        await Subscriber.connect(t, route.subscribeEdge, apps.main)
      ).subscribe(unique('decoded'));
      const pusher = publisher(t, route.publishEdge, apps.main);
      for (const text of ['{"a":"Zoë 🚀"}', 'not JSON', '""', 'null', '1e400', ' 7 '])
        await pusher.trigger(subscription.name, 'event', text);
      await subscription.events.count(6);
      assert.deepEqual(subscription.dataOf('event'), [{ a: 'Zoë 🚀' }, 'not JSON', '', null, Infinity, 7]);
    });
  });
}
