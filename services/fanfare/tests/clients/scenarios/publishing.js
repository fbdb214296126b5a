// Publishing with the `pusher` library, receiving with pusher-js.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { Subscriber } from '../harness/subscriber.js';

export function publishing(route) {
  const connect = (t, edge = route.subscribeEdge) => Subscriber.connect(t, edge, apps.main);
  const publisherOf = (t) => publisher(t, route.publishEdge, apps.main);

  describe('publishing', () => {
    test('an event reaches a subscriber, and the answer is 200 {}', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('news'));
      const response = await publisherOf(t).trigger(subscription.name, 'headline', { text: 'hello' });
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-type'), /^application\/json/);
      assert.deepEqual(await response.json(), {});
      const { data } = await subscription.event('headline');
      assert.deepEqual(data, { text: 'hello' });
      assert.equal(subscription.events.items.length, 1);
    });

    test('every subscriber on every edge gets it, and no other channel does', async (t) => {
      const channel = unique('news');
      const edges = [route.subscribeEdge, route.subscribeEdge, route.publishEdge];
      const subscribers = await Promise.all(edges.map((edge) => connect(t, edge)));
      const subscriptions = await Promise.all(subscribers.map((subscriber) => subscriber.subscribe(channel)));
      const other = await subscribers[0].subscribe(unique('other'));
      await publisherOf(t).trigger(channel, 'headline', 'x');
      await publisherOf(t).trigger(other.name, 'marker', 'y');
      for (const subscription of subscriptions) {
        await subscription.event('headline');
        assert.deepEqual(subscription.dataOf('headline'), ['x']);
      }
      await other.event('marker');
      assert.deepEqual(other.dataOf('headline'), []);
    });

    test('one event goes to 100 channels', async (t) => {
      const channels = Array.from({ length: 100 }, (_, index) => unique(`wide-${index}`));
      const subscriber = await connect(t);
      const subscriptions = await Promise.all(channels.map((channel) => subscriber.subscribe(channel)));
      await publisherOf(t).trigger(channels, 'wide', 'once');
      await publisherOf(t).trigger(channels, 'last', 'done');
      for (const subscription of subscriptions) {
        await subscription.event('last');
        assert.deepEqual(subscription.dataOf('wide'), ['once'], subscription.name);
      }
    });

    test('a channel named twice gets the event once', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('twice'));
      await publisherOf(t).trigger([subscription.name, subscription.name], 'event', 1);
      await publisherOf(t).trigger(subscription.name, 'last', 2);
      await subscription.event('last');
      assert.deepEqual(subscription.dataOf('event'), [1]);
    });

    test('a batch of 10 events arrives whole, in order on each channel', async (t) => {
      const subscriber = await connect(t);
      const [even, odd] = await Promise.all(['even', 'odd'].map((name) => subscriber.subscribe(unique(name))));
      const batch = Array.from({ length: 10 }, (_, index) => ({
        channel: (index % 2 === 0 ? even : odd).name,
        name: 'number',
        data: { index },
      }));
      const response = await publisherOf(t).triggerBatch(batch);
      assert.deepEqual(await response.json(), {});
      for (const [subscription, expected] of [
        [even, [0, 2, 4, 6, 8]],
        [odd, [1, 3, 5, 7, 9]],
      ]) {
        await subscription.events.count(expected.length);
        assert.deepEqual(
          subscription.dataOf('number').map(({ index }) => index),
          expected,
        );
      }
    });

    test('a socket_id is left out, wherever it is connected', async (t) => {
      const channel = unique('room');
      const [excluded, near, far] = await Promise.all([connect(t), connect(t), connect(t, route.publishEdge)]);
      const subscriptions = await Promise.all([excluded, near, far].map((subscriber) => subscriber.subscribe(channel)));
      await publisherOf(t).trigger(channel, 'to-others', 1, { socket_id: excluded.socketId });
      await publisherOf(t).trigger(channel, 'to-all', 2);
      const received = [];
      for (const subscription of subscriptions) {
        await subscription.event('to-all');
        received.push(subscription.events.items.map(({ event }) => event));
      }
      assert.deepEqual(received, [['to-all'], ['to-others', 'to-all'], ['to-others', 'to-all']]);
    });

    test('a batch leaves out a socket_id per event', async (t) => {
      const subscriber = await connect(t);
      const subscription = await subscriber.subscribe(unique('room'));
      const event = (name, rest) => ({ channel: subscription.name, name, data: name, ...rest });
      await publisherOf(t).triggerBatch([
        event('first'),
        event('hidden', { socket_id: subscriber.socketId }),
        event('last'),
      ]);
      await subscription.event('last');
      assert.deepEqual(
        subscription.events.items.map(({ event: name }) => name),
        ['first', 'last'],
      );
    });

    test('an ephemeral namespace delivers too', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('tick-eur'));
      await publisherOf(t).trigger(subscription.name, 'price', 1.08);
      assert.equal((await subscription.event('price')).data, 1.08);
    });

    test('§18.33 event names may be anything up to 200 characters', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('names'));
      const names = ['App\\Events\\OrderShipped', 'with space "and quotes"', 'größe 🚀', 'n'.repeat(200)];
      for (const name of names) await publisherOf(t).trigger(subscription.name, name, 1);
      await subscription.events.count(names.length);
      assert.deepEqual(
        subscription.events.items.map(({ event }) => event),
        names,
      );
    });

    test('an application may publish events named like client events', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('news'));
      await publisherOf(t).trigger(subscription.name, 'client-like', 1);
      await subscription.event('client-like');
    });
  });
}
