// What was published can be read, page after page.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { jwt } from '../../harness/ably/credentials.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
const sequence = (length) => Array.from({ length }, (_, index) => index);

/** All items of a history, page by page, and how many each page had. */
async function pages(first) {
  const [items, sizes] = [[], []];
  for (let page = first; page; page = page.hasNext() ? await page.next() : null) {
    items.push(...page.items);
    sizes.push(page.items.length);
    if (page.isLast()) break;
  }
  return { items, sizes };
}

const numbers = (items) => items.map(({ data }) => data.number);

export function history(way) {
  /** A channel with these numbers in it, some of them published at once. */
  async function filled(t, prefix, ...groups) {
    const rest = await way.rest(t, APP);
    const channel = rest.channels.get(unique(prefix));
    for (const group of groups) await channel.publish(group.map((number) => ({ name: 'number', data: { number } })));
    return { rest, channel };
  }

  describe('history', () => {
    test('pages in both directions, across publishes of several messages', async (t) => {
      const groups = [[0, 1, 2], [3], [4, 5, 6, 7], [8], [9]];
      for (const prefix of ['short', 'kept-long']) {
        const { channel } = await filled(t, prefix, ...groups);
        for (const limit of [1, 3, 4, 100]) {
          const back = await pages(await channel.history({ limit }));
          assert.deepEqual(numbers(back.items), sequence(10).reverse(), `limit ${limit}`);
          assert.ok(back.sizes.every((size) => size <= limit));
          const forth = await pages(await channel.history({ limit, direction: 'forwards' }));
          assert.deepEqual(numbers(forth.items), sequence(10), `limit ${limit}`);
        }
        const second = await (await channel.history({ limit: 4 })).next();
        assert.deepEqual(numbers((await second.first()).items), [9, 8, 7, 6]);
        assert.deepEqual(numbers((await second.current()).items), numbers(second.items));
      }
    });

    test('what was acknowledged is there, on every node', async (t) => {
      const { channel } = await filled(t, 'at-once');
      for (const number of sequence(10)) {
        await channel.publish('number', { number });
        const [newest] = (await channel.history({ limit: 1 })).items;
        assert.deepEqual(newest.data, { number });
      }
    });

    test('between two moments', async (t) => {
      const { channel } = await filled(t, 'times', [0], [1], [2]);
      const { items } = await channel.history({ direction: 'forwards' });
      const [, middle, last] = items.map(({ timestamp }) => timestamp);
      const within = await channel.history({ start: middle, end: last, direction: 'forwards' });
      assert.deepEqual(
        numbers(within.items),
        numbers(items.filter(({ timestamp }) => timestamp >= middle && timestamp <= last)),
      );
      const none = await channel.history({ start: last + 60_000, end: last + 61_000 });
      assert.deepEqual(none.items, []);
    });

    test('all of a message', async (t) => {
      const client = await way.connect(t, APP, { clientId: 'bob' });
      const channel = await client.subscribe(unique('all'));
      await channel.channel.publish({ name: 'n', data: Buffer.from([1, 2]), extras: { headers: { a: 1 } } });
      const live = await channel.message('n');
      const [stored] = (await channel.channel.history()).items;
      for (const field of ['id', 'name', 'clientId', 'connectionId', 'timestamp', 'serial', 'action', 'extras']) {
        assert.deepEqual(stored[field], live[field], field);
      }
      assert.deepEqual(Buffer.from(stored.data), Buffer.from(live.data));
    });

    test('untilAttach: exactly what was published before', async (t) => {
      const { channel: rest } = await filled(t, 'until', sequence(5));
      const channel = await (await way.connect(t, APP)).subscribe(rest.name);
      await rest.publish('number', { number: 5 });
      await channel.received(1);
      const before = await pages(await channel.channel.history({ untilAttach: true, limit: 2 }));
      assert.deepEqual(numbers(before.items), [4, 3, 2, 1, 0]);
    });

    test('who may not, and what makes no sense', async (t) => {
      const { rest, channel } = await filled(t, 'refused', [0]);
      const stranger = await way.rest(t, APP, { token: jwt(APP, { capability: { '*': ['subscribe', 'publish'] } }) });
      assert.equal((await failure(stranger.channels.get(channel.name).history())).code, 40160);
      for (const params of [{ limit: 0 }, { limit: 1001 }, { limit: 'x' }, { direction: 'sideways' }, { start: 'x' }]) {
        const answer = await rest.request('GET', `/channels/${channel.name}/messages`, 6, params);
        assert.deepEqual([answer.statusCode, answer.errorCode], [400, 40003], JSON.stringify(params));
      }
    });
  });
}
