// Subscribers are told how many they are, where the app wants that.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

const EVENT = 'pusher_internal:subscription_count';
const app = apps.counting;

export function subscriptionCount(route) {
  let here;
  let there;
  before(() => ([here, there] = [route.subscribeEdge, route.publishEdge]));

  async function connect(t, edge) {
    return Subscriber.connect(t, edge, app, await identifiedAs(t, app, { member: { user_id: 'ann' } }));
  }

  const counts = (subscription) =>
    subscription.noticed('subscription_count').map(({ subscription_count: count }) => count);

  const isTold = (subscription, count) =>
    subscription.notices.until(() => counts(subscription).at(-1) === count, `a count of ${count}`);

  describe('subscription counts', () => {
    for (const prefix of ['open', 'private-closed', 'cache-last']) {
      test(`§5 every subscriber of ${prefix} on every edge learns each new count`, async (t) => {
        const channel = unique(prefix);
        const [first, second, third] = [await connect(t, here), await connect(t, there), await connect(t, here)];
        const one = await first.subscribe(channel);
        await isTold(one, 1);
        const two = await second.subscribe(channel);
        await Promise.all([one, two].map((each) => isTold(each, 2)));
        const three = await third.subscribe(channel);
        await Promise.all([one, two, three].map((each) => isTold(each, 3)));
        assert.equal(one.channel.subscriptionCount, 3);
        second.unsubscribe(channel);
        await Promise.all([one, three].map((each) => isTold(each, 2)));
        third.disconnect();
        await isTold(one, 1);
        assert.deepEqual(one.events.items, []);
      });
    }

    test('the data is a string', async (t) => {
      const socket = await RawSocket.connect(t, here, app);
      const channel = unique('open');
      await socket.subscribe(channel);
      const frame = await socket.event(EVENT);
      assert.deepEqual([frame.channel, frame.data], [channel, '{"subscription_count":1}']);
    });

    test('none on presence channels, none where the app does not want it', async (t) => {
      const presence = unique('presence-room');
      const member = await RawSocket.connect(t, here, app);
      await member.join(app, presence, { user_id: 'ann' });
      const plain = await RawSocket.connect(t, here, apps.main);
      const channel = unique('open');
      await plain.subscribe(channel);
      const other = await RawSocket.connect(t, there, app);
      await other.join(app, presence, { user_id: 'bob' });
      await member.event('pusher_internal:member_added');
      // A count on another channel of the same app would have come after one on these.
      const witness = await RawSocket.connect(t, here, app);
      await witness.subscribe(channel);
      await witness.event(EVENT);
      for (const [socket, name, of] of [
        [member, presence, app],
        [plain, channel, apps.main],
      ]) {
        await publisher(t, there, of).trigger(name, 'last', 1);
        await socket.event('last');
        assert.deepEqual(socket.all(EVENT), []);
      }
    });
  });
}
