// Deltas: messages that are told by how they differ, and come out as they were.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as vcdiff from '@ably/vcdiff-decoder';
import Ably from 'ably';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
const DELTA = { params: { delta: 'vcdiff' } };
const sequence = (length) => Array.from({ length }, (_, index) => index);

/** Much that stays and a little that changes. */
const state = (number) => ({ filler: 'a long text that stays as it is '.repeat(20), number, more: sequence(50) });

/** A decoder that counts, and fails when it is told to. */
function decoder() {
  const counting = {
    decoded: 0,
    failures: 0,
    decode(delta, base) {
      if (counting.failures > 0) {
        counting.failures -= 1;
        throw new Error('as if a frame had been lost');
      }
      counting.decoded += 1;
      counting.bytes = delta.length;
      return vcdiff.decode(delta, base);
    },
  };
  return counting;
}

export function deltas(way) {
  async function follow(t, name, options = DELTA) {
    const counting = decoder();
    const client = await way.connect(t, APP, { plugins: { vcdiff: counting } });
    return { client, counting, channel: await client.subscribe(name, options) };
  }

  describe('deltas', () => {
    test('all but the first are small, and come out whole', async (t) => {
      const { channel, counting } = await follow(t, unique('delta'));
      const publisher = (await way.rest(t, APP)).channels.get(channel.name);
      for (const number of sequence(6)) await publisher.publish('state', state(number));
      assert.deepEqual(await channel.received(6), sequence(6).map(state));
      assert.equal(counting.decoded, 5);
      assert.ok(counting.bytes < 100, `${counting.bytes} bytes`);
      assert.deepEqual(channel.channel.params, { delta: 'vcdiff' });
    });

    test('of text, of bytes, of both in turn, and where none is smaller', async (t) => {
      const { channel, counting } = await follow(t, unique('delta'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      const text = 'ä long text '.repeat(30);
      const bytes = Buffer.from(sequence(400).map((index) => index % 251));
      const payloads = [
        text,
        `${text}1`,
        Buffer.from(text),
        bytes,
        Buffer.concat([bytes, Buffer.from([1])]),
        'x',
        'y',
        '',
        text,
        state(1),
      ];
      for (const data of payloads) await publisher.publish('n', data);
      const received = await channel.received(payloads.length);
      assert.deepEqual(
        received.map((data) => (typeof data === 'string' || data?.filler ? data : Buffer.from(data))),
        payloads,
      );
      assert.ok(counting.decoded >= 3);
    });

    test('within one publish of several messages', async (t) => {
      const { channel, counting } = await follow(t, unique('delta'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      for (const first of [0, 3, 6]) {
        await publisher.publish([0, 1, 2].map((index) => ({ name: 'state', data: state(first + index) })));
      }
      assert.deepEqual(await channel.received(9), sequence(9).map(state));
      assert.equal(counting.decoded, 8);
    });

    test('of what only its readers can read', async (t) => {
      const cipher = {
        key: Ably.Realtime.Crypto.generateRandomKey ? await Ably.Realtime.Crypto.generateRandomKey(256) : undefined,
      };
      const name = unique('delta');
      const { channel } = await follow(t, name, { ...DELTA, cipher });
      const publisher = (await way.connect(t, APP)).channel(name, { cipher }).channel;
      for (const number of sequence(3)) await publisher.publish('state', state(number));
      assert.deepEqual(await channel.received(3), sequence(3).map(state));
    });

    test('what cannot be decoded stays as it is and is in nobody’s way', async (t) => {
      const { channel } = await follow(t, unique('delta'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      await publisher.publish('state', state(0));
      await publisher.publish({ name: 'odd', data: 'x'.repeat(500), encoding: 'nonsense' });
      await publisher.publish('state', state(1));
      await publisher.publish('state', state(2));
      await channel.received(4);
      assert.deepEqual(channel.data('state'), [0, 1, 2].map(state));
      assert.deepEqual(channel.data('odd'), ['x'.repeat(500)]);
      assert.deepEqual(
        channel.changes.items.map(({ current }) => current).filter((state) => state !== 'attached'),
        ['attaching'],
      );
    });

    test('after a lost frame the rest comes again, the first of it whole', async (t) => {
      const { channel, counting } = await follow(t, unique('delta'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      for (const number of [0, 1, 2]) await publisher.publish('state', state(number));
      await channel.received(3);
      counting.failures = 1;
      await publisher.publish('state', state(3));
      const { reason } = await channel.became('attaching', 2);
      assert.equal(reason.code, 40018);
      await channel.became('attached', 2);
      for (const number of [4, 5]) await publisher.publish('state', state(number));
      assert.deepEqual(await channel.received(6), sequence(6).map(state));
    });

    test('after a resume the first is whole', async (t) => {
      const { channel, client } = await follow(t, unique('delta'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      for (const number of [0, 1]) await publisher.publish('state', state(number));
      await channel.received(2);
      client.door.cut();
      await publisher.publish('state', state(2));
      await client.became('connected', 2);
      await publisher.publish('state', state(3));
      assert.deepEqual(await channel.received(4), sequence(4).map(state));
    });

    test('beside occupancy, which is a message too', async (t) => {
      const { channel } = await follow(t, unique('delta'), { params: { delta: 'vcdiff', occupancy: 'metrics' } });
      const publisher = (await way.connect(t, APP)).channel(channel.name);
      for (const number of sequence(4)) {
        await publisher.channel.publish('state', state(number));
        await (number % 2 === 0 ? publisher.channel.attach() : publisher.channel.detach());
      }
      await channel.messages.until(() => channel.data('state').length === 4, 'four states');
      assert.deepEqual(channel.data('state'), sequence(4).map(state));
    });

    test('history is always whole', async (t) => {
      const { channel } = await follow(t, unique('delta'));
      for (const number of sequence(3)) await channel.channel.publish('state', state(number));
      await channel.received(3);
      const { items } = await channel.channel.history({ direction: 'forwards' });
      assert.deepEqual(
        items.map(({ data }) => data),
        sequence(3).map(state),
      );
      assert.ok(items.every(({ extras }) => extras?.delta === undefined));
    });
  });
}
