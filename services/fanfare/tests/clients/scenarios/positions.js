// The position beside each delivered event, by which a backend can ask what came after it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { channelAuth } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { signedGet } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';

export function positions(route) {
  const publisherOf = (t, app = apps.main) => publisher(t, route.publishEdge, app);

  async function listening(t, channel, app = apps.main) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, app);
    const auth = channel.startsWith('private-') ? channelAuth(app, await socket.socketId(), channel) : '';
    await socket.subscribe(channel, auth);
    return socket;
  }

  async function missed(channel, after) {
    const answer = await signedGet(route.publishEdge, apps.main, `/channels/${channel}/events`, { query: { after } });
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }

  describe('positions', () => {
    test('a delivered event carries the position that history tells', async (t) => {
      const channel = unique('news');
      const socket = await listening(t, channel);
      for (const number of [1, 2, 3]) await publisherOf(t).trigger(channel, 'number', number);
      const [first, ...rest] = await socket.events('number', 3);
      const { events, complete } = await missed(channel, first.position);
      assert.equal(complete, true);
      assert.deepEqual(
        events.map(({ name, data, position }) => [name, data, position]),
        rest.map(({ event, data, position }) => [event, data, position]),
      );
    });

    test('what came from a cache has its position, too', async (t) => {
      const channel = unique('cache-news');
      await publisherOf(t).trigger(channel, 'number', 1);
      const socket = await listening(t, channel);
      const cached = await socket.event('number');
      await publisherOf(t).trigger(channel, 'number', 2);
      const { events } = await missed(channel, cached.position);
      assert.deepEqual(
        events.map(({ data }) => data),
        ['2'],
      );
    });

    test('client events and the protocol’s own events have none', async (t) => {
      const channel = unique('private-chat');
      const [sender, receiver] = [await listening(t, channel), await listening(t, channel)];
      sender.send({ event: 'client-typing', channel, data: 1 });
      await receiver.event('client-typing');
      assert.ok(receiver.frames.every((frame) => !('position' in frame)));
    });

    test('an app may do without them', async (t) => {
      const channel = unique('news');
      const socket = await listening(t, channel, apps.noPositions);
      await publisherOf(t, apps.noPositions).trigger(channel, 'number', 1);
      assert.ok(!('position' in (await socket.event('number'))));
    });

    test('stock pusher-js does not see them', async (t) => {
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, apps.main);
      const subscription = await subscriber.subscribe(unique('news'));
      const metadata = subscription.withMetadata('number');
      await publisherOf(t).trigger(subscription.name, 'number', 1);
      assert.deepEqual(await metadata.count(1), [{ data: 1, metadata: {} }]);
      assert.deepEqual(subscriber.errors.items, []);
    });
  });
}
