// Messages arrive in the order in which they were published, and are acknowledged in it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../../harness/apps.js';
import { Inbox } from '../../harness/inbox.js';
import { unique } from '../../harness/names.js';

const BURST = 500;
/** Long for either half of a burst, and short of the test's own end, which would not say what is missing. */
const BURST_MS = 120_000;
const TEST_MS = 300_000;

const sequence = (length) => Array.from({ length }, (_, index) => index);

/** Publishes numbers without waiting; answers in which order they were acknowledged. */
async function burst(channel, name, count) {
  const acknowledged = new Inbox();
  const serials = Promise.all(
    sequence(count).map(async (index) => {
      const result = await channel.publish(name, { index });
      acknowledged.push(index);
      return result.serials[0];
    }),
  );
  await Promise.race([serials, acknowledged.count(count, `${count} acknowledgements`, BURST_MS)]);
  return { acknowledged: acknowledged.items, serials: await serials };
}

export function order(way) {
  describe('order', () => {
    test(`${BURST} messages in a burst arrive and are acknowledged in order`, { timeout: TEST_MS }, async (t) => {
      const name = unique('ordered');
      const readers = await Promise.all([way.connect(t, apps.ably), way.connect(t, apps.ably)]);
      const channels = await Promise.all(readers.map((reader) => reader.subscribe(name)));
      const publisher = (await way.connect(t, apps.ably)).channel(name).channel;
      const { acknowledged, serials } = await burst(publisher, 'number', BURST);
      assert.deepEqual(acknowledged, sequence(BURST));
      assert.deepEqual([...serials].sort(), serials);
      for (const channel of channels) {
        const data = await channel.received(BURST, BURST_MS);
        assert.deepEqual(
          data.map(({ index }) => index),
          sequence(BURST),
        );
        assert.deepEqual(
          channel.messages.items.map(({ serial }) => serial),
          serials,
        );
      }
    });

    test('several publishers: everybody sees one and the same order, history too', { timeout: TEST_MS }, async (t) => {
      const name = unique('shared');
      const clients = await Promise.all(sequence(3).map(() => way.connect(t, apps.ably)));
      const channels = await Promise.all(clients.map((client) => client.subscribe(name)));
      const each = 30;
      await Promise.all(clients.map((client, source) => burst(client.channel(name).channel, `from-${source}`, each)));
      const seen = await Promise.all(
        channels.map(async (channel) => {
          await channel.received(3 * each);
          return channel.messages.items.map(({ id }) => id);
        }),
      );
      assert.deepEqual(seen[1], seen[0]);
      assert.deepEqual(seen[2], seen[0]);
      for (const source of sequence(3)) {
        const indexes = channels[0].data(`from-${source}`).map(({ index }) => index);
        assert.deepEqual(indexes, sequence(each), `of publisher ${source}`);
        // Nodes have clocks of their own: timestamps follow the order of what came by one of them.
        const ofSource = channels[0].messages.items.filter((message) => message.name === `from-${source}`);
        const timestamps = ofSource.map(({ timestamp }) => timestamp);
        assert.deepEqual([...timestamps].sort(), timestamps);
      }
      const { items } = await channels[0].channel.history({ limit: 100 });
      assert.deepEqual(items.map(({ id }) => id).reverse(), seen[0]);
    });
  });
}
