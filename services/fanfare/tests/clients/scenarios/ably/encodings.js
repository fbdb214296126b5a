// Payloads cross between formats and come back byte for byte, whatever their encoding says.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Ably from 'ably';
import { apps } from '../../harness/apps.js';
import { FORMATS } from '../../harness/ably/ways.js';
import { unique } from '../../harness/names.js';
import { keyOf } from '../../harness/ably/credentials.js';

const APP = apps.ably;

/** `data` and `encoding` as raw REST users send them. */
const WIRE = [
  ['plain', undefined],
  ['{"a": 1}', 'json'],
  ['AAEC/w==', 'base64'],
  ['not base64 !', 'base64'],
  ['eyJhIjoxfQ==', 'json/utf-8/base64'],
  ['anything', 'json/utf-8'],
  ['c2VjcmV0', 'utf-8/cipher+aes-256-cbc/base64'],
  ['odd', 'nonsense/of/any+kind'],
  ['', undefined],
];

export function encodings(way) {
  describe('encodings', () => {
    test('what is on the wire comes back untouched', async (t) => {
      const rest = await way.rest(t, APP, FORMATS.JSON);
      const door = await way.door(t);
      const name = unique('wire');
      for (const [data, encoding] of WIRE) {
        const answer = await rest.request('POST', `/channels/${name}/messages`, 6, null, { name: 'n', data, encoding });
        assert.equal(answer.statusCode, 201);
      }
      const url = `http://${door.host}:${door.port}/channels/${name}/messages?direction=forwards`;
      const authorization = `Basic ${Buffer.from(keyOf(APP)).toString('base64')}`;
      const answer = await fetch(url, { headers: { authorization, accept: 'application/json' } });
      assert.equal(answer.headers.get('content-type'), 'application/json');
      const stored = await answer.json();
      assert.deepEqual(
        stored.map(({ data, encoding }) => [data, encoding]),
        WIRE,
      );
    });

    test('objects posted as such are JSON text, other things are refused', async (t) => {
      const rest = await way.rest(t, APP);
      const name = unique('wire');
      const post = (data) => rest.request('POST', `/channels/${name}/messages`, 6, null, { name: 'n', data });
      assert.equal((await post({ a: 1 })).statusCode, 201);
      assert.deepEqual((await rest.channels.get(name).history()).items[0].data, { a: 1 });
      for (const data of [1, true]) {
        const answer = await post(data);
        assert.deepEqual([answer.statusCode, answer.errorCode], [400, 40013]);
      }
    });

    test('each format reads what the other one wrote', async (t) => {
      const name = unique('both');
      const payloads = ['text ü', { a: [1] }, Buffer.from([0, 255, 65]), Buffer.from('ascii')];
      for (const format of Object.values(FORMATS)) {
        const reader = await (await way.connect(t, APP, format)).subscribe(name, { params: { rewind: '1' } });
        const publisher = (await way.connect(t, APP)).channel(name).channel;
        reader.messages.items.length = 0;
        for (const data of payloads) await publisher.publish('n', data);
        const received = (await reader.received(payloads.length)).slice(-payloads.length);
        assert.deepEqual(
          received.map((data) => (Buffer.isBuffer(data) || data instanceof ArrayBuffer ? Buffer.from(data) : data)),
          payloads,
        );
      }
    });

    test('encrypted end to end', async (t) => {
      const name = unique('vault');
      const cipher = { key: await Ably.Realtime.Crypto.generateRandomKey(256) };
      const [reader, writer] = await Promise.all([way.connect(t, APP), way.connect(t, APP, { clientId: 'bob' })]);
      const channel = await reader.subscribe(name, { cipher });
      const sealed = writer.channel(name, { cipher });
      const payloads = ['text', { a: 1 }, Buffer.from([1, 2, 255])];
      for (const data of payloads) await sealed.channel.publish('n', data);
      const received = await channel.received(payloads.length);
      assert.deepEqual([...received.slice(0, 2), Buffer.from(received[2])], payloads);
      const { items } = await (await way.rest(t, APP)).channels.get(name).history();
      assert.ok(items.every(({ encoding }) => encoding.includes('cipher+aes-256-cbc')));
      await sealed.channel.presence.enter({ secret: true });
      await channel.knows({ bob: { secret: true } });
    });
  });
}
