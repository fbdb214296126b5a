// Publishing to, and asking about, many channels at once.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;

export function batches(way) {
  describe('batches', () => {
    test('publish to several channels', async (t) => {
      const names = [unique('one'), unique('two')];
      const client = await way.connect(t, APP);
      const channels = await Promise.all(names.map((name) => client.subscribe(name)));
      const rest = await way.rest(t, APP);
      const messages = [
        { name: 'a', data: { x: 1 } },
        { name: 'b', data: Buffer.from([1, 255]) },
      ];
      const result = await rest.batchPublish({ channels: names, messages });
      assert.deepEqual([result.successCount, result.failureCount], [2, 0]);
      assert.deepEqual(
        result.results.map(({ channel }) => channel),
        names,
      );
      assert.ok(result.results.every(({ messageId }) => messageId));
      for (const channel of channels) {
        const [a, b] = await channel.received(2);
        assert.deepEqual([a, Buffer.from(b)], [{ x: 1 }, Buffer.from([1, 255])]);
      }
      const several = await rest.batchPublish([
        { channels: [names[0]], messages: { name: 'c' } },
        { channels: [names[1]], messages: { name: 'd' } },
      ]);
      assert.deepEqual(
        several.map(({ successCount }) => successCount),
        [1, 1],
      );
      await Promise.all([channels[0].message('c'), channels[1].message('d')]);
    });

    test('some of it may be refused', async (t) => {
      const rest = await way.rest(t, withKey(APP, '1050.rooms'));
      const { successCount, failureCount, results } = await rest.batchPublish({
        channels: ['room:1', 'lobby', ':bad', 'room:2'],
        messages: { name: 'a' },
      });
      assert.deepEqual([successCount, failureCount], [2, 2]);
      assert.deepEqual(
        results.map(({ channel, error }) => [channel, error?.code]),
        [
          ['room:1', undefined],
          ['lobby', 40160],
          [':bad', 40010],
          ['room:2', undefined],
        ],
      );
    });

    test('who is present on several channels', async (t) => {
      const [full, empty] = [unique('full'), unique('empty')];
      const bob = await way.connect(t, APP, { clientId: 'bob' });
      await bob.channel(full).channel.presence.enter('here');
      const rest = await way.rest(t, APP);
      const { successCount, results } = await rest.batchPresence([full, empty]);
      assert.equal(successCount, 2);
      const [there, nobody] = results;
      assert.deepEqual(
        there.presence.map(({ clientId, action }) => [clientId, action]),
        [['bob', 1]],
      );
      assert.deepEqual([there.channel, nobody.channel, nobody.presence], [full, empty, []]);
      const limited = await way.rest(t, withKey(APP, '1050.rooms'));
      const mixed = await limited.batchPresence(['room:9', 'lobby']);
      assert.deepEqual([mixed.successCount, mixed.failureCount, mixed.results[1].error.code], [1, 1, 40160]);
    });
  });
}
