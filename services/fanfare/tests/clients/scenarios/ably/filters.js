// Derived channels: a subscriber gets what its filter lets through.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AblyChannel, failure } from '../../harness/ably/client.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;

const derived = async (client, name, filter, options) =>
  new AblyChannel(client.realtime.channels.getDerived(name, { filter }, options)).subscribe();

export function filters(way) {
  describe('filters', () => {
    const cases = {
      'name == `"wanted"`': [0, 3],
      'headers.number == `1`': [1],
      'headers.number > `0` && headers.flag': [2],
      "contains(headers.tags, 'b') || name == 'wanted'": [0, 2, 3],
      "clientId == 'bob'": [0, 1, 2, 3],
      'headers.missing == `1`': [],
    };
    for (const [filter, expected] of Object.entries(cases)) {
      test(filter, async (t) => {
        const name = unique('all');
        const channel = await derived(await way.connect(t, APP), name, `${filter} || name == 'end'`);
        const publisher = (await way.connect(t, APP, { clientId: 'bob' })).channel(name).channel;
        await publisher.publish([
          { name: 'wanted', data: 0 + '' },
          { name: 'other', data: '1', extras: { headers: { number: 1 } } },
          { name: 'other', data: '2', extras: { headers: { number: 2, flag: true, tags: ['a', 'b'] } } },
        ]);
        await publisher.publish('wanted', '3');
        await publisher.publish('end', '');
        await channel.message('end');
        const received = channel.messages.items.slice(0, -1).map(({ data }) => Number(data));
        assert.deepEqual(received, expected);
      });
    }

    test('with rewind and deltas, and after a resume', async (t) => {
      const name = unique('all');
      const publisher = (await way.connect(t, APP)).channel(name).channel;
      const publish = (kind, number) => publisher.publish(kind, `${'some long text '.repeat(20)}${number}`);
      for (const number of [0, 1, 2, 3]) await publish(number % 2 ? 'odd' : 'even', number);
      const client = await way.connect(t, APP);
      const channel = await derived(client, name, "name == 'odd'", { params: { rewind: '10', delta: 'vcdiff' } });
      for (const number of [4, 5]) await publish(number % 2 ? 'odd' : 'even', number);
      await channel.received(3);
      client.door.cut();
      for (const number of [6, 7]) await publish(number % 2 ? 'odd' : 'even', number);
      await client.became('connected', 2);
      const received = await channel.received(4);
      assert.deepEqual(
        received.map((text) => Number(text.slice(-1))),
        [1, 3, 5, 7],
      );
    });

    test('nobody can publish there', async (t) => {
      const channel = await derived(await way.connect(t, APP), unique('all'), "name == 'a'");
      await assert.rejects(channel.channel.publish('a', ''));
      assert.equal(channel.channel.state, 'attached');
    });

    test('what is no filter', async (t) => {
      const client = await way.connect(t, APP);
      for (const filter of ['name ==', '[@, @]', 'unknown(name)']) {
        const error = await failure(client.realtime.channels.getDerived(unique('all'), { filter }).attach());
        assert.equal(error.code, 40000, filter);
      }
      assert.equal((await failure(client.channel(`[filter=***]${unique('all')}`).channel.attach())).code, 40010);
    });
  });
}
