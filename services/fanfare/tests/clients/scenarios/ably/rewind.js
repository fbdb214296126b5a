// rewind: what was published lately, then what is live, without gap or repeat.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
const sequence = (length) => Array.from({ length }, (_, index) => index);
const TEST_MS = 300_000;

export function rewind(way) {
  async function filled(t, count) {
    const publisher = await way.connect(t, APP);
    const { channel } = publisher.channel(unique('rewound'));
    await Promise.all(sequence(count).map((number) => channel.publish('number', number.toString())));
    return channel;
  }
  const numbers = (channel) => channel.data('number').map(Number);

  describe('rewind', () => {
    for (const [params, expected] of [
      [{ rewind: '1' }, [9]],
      [{ rewind: '3' }, [7, 8, 9]],
      [{ rewind: '100' }, sequence(10)],
      [{ rewind: '2m' }, sequence(10)],
      [{ rewind: '2m', rewindLimit: '2' }, [8, 9]],
    ]) {
      test(JSON.stringify(params), async (t) => {
        const publisher = await filled(t, 10);
        const channel = (await way.connect(t, APP)).channel(publisher.name, { params });
        await channel.subscribe();
        const { hasBacklog, resumed } = await channel.became('attached');
        assert.deepEqual([hasBacklog, resumed], [true, false]);
        assert.deepEqual(channel.channel.params, params);
        await publisher.publish('number', '10');
        await channel.received(expected.length + 1);
        assert.deepEqual(numbers(channel), [...expected, 10]);
      });
    }

    test('in the name', async (t) => {
      const publisher = await filled(t, 3);
      const channel = await (await way.connect(t, APP)).subscribe(`[?rewind=2]${publisher.name}`);
      await publisher.publish('number', '3');
      await channel.received(3);
      assert.deepEqual(numbers(channel), [1, 2, 3]);
    });

    test('while others publish: every number once and in order', { timeout: TEST_MS }, async (t) => {
      const publisher = await filled(t, 20);
      let going = true;
      let next = 20;
      const publishing = (async () => {
        while (going) await publisher.publish('number', (next++).toString());
      })();
      const channels = [];
      for (const count of sequence(10)) {
        const name = count % 2 === 0 ? publisher.name : `[?rewind=10]${publisher.name}`;
        channels.push(await (await way.connect(t, APP)).subscribe(name, { params: { rewind: '10' } }));
      }
      going = false;
      await publishing;
      await publisher.publish('end', '');
      for (const channel of channels) {
        await channel.message('end');
        const seen = numbers(channel);
        assert.deepEqual(
          seen,
          sequence(seen.length).map((index) => seen[0] + index),
        );
        assert.equal(seen.at(-1), next - 1);
        assert.ok(seen.length >= 10);
      }
    });

    test('again after a detach, not after a resume', async (t) => {
      const publisher = await filled(t, 3);
      const client = await way.connect(t, APP);
      const channel = await client.subscribe(publisher.name, { params: { rewind: '2' } });
      await channel.received(2);
      client.door.cut();
      await client.became('connected', 2);
      await channel.became('attached', 2);
      await publisher.publish('number', '3');
      await channel.received(3);
      assert.deepEqual(numbers(channel), [1, 2, 3]);
      await channel.channel.detach();
      await channel.channel.attach();
      await channel.received(5);
      assert.deepEqual(numbers(channel), [1, 2, 3, 2, 3]);
    });

    test('of nothing is nothing', async (t) => {
      const channel = (await way.connect(t, APP)).channel(unique('new'), { params: { rewind: '5' } });
      await channel.subscribe();
      assert.equal((await channel.became('attached')).hasBacklog ?? false, false);
      await channel.channel.publish('number', '0');
      assert.deepEqual(await channel.received(1), ['0']);
    });
  });
}
