// pusher-js without a WebSocket: xhr_streaming and xhr_polling. Its session stays on one edge.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps, unknownApp } from '../harness/apps.js';
import { authEndpoint, authorizedBy } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { freePorts } from '../harness/ports.js';
import { publisher } from '../harness/publisher.js';
import { Subscriber, fallbackOptions } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

/** More than pusher-js reads from one answer, so that it asks for another one in between. */
const EVENTS = 80;
const EVENT_BYTES = 8_000;
/** pusher-js tries the fallback 5 s after the WebSocket. */
const FALLBACK_MS = 90_000;

const sequence = (length) => Array.from({ length }, (_, index) => index);

export function httpFallback(route) {
  async function connect(t, address, transports) {
    const endpoint = await authEndpoint(t, apps.main);
    const options = { ...fallbackOptions(address, transports), ...authorizedBy(endpoint) };
    return Subscriber.connect(t, address, apps.main, options);
  }

  for (const transport of ['xhr_streaming', 'xhr_polling']) {
    describe(`the HTTP fallback ${transport}`, () => {
      test('connects, subscribes and receives in order', async (t) => {
        const subscriber = await connect(t, route.subscribeEdge, [transport]);
        assert.equal(subscriber.pusher.connection.connection.transport.name, transport);
        const subscription = await subscriber.subscribe(unique('fallback'));
        const pusher = publisher(t, route.publishEdge, apps.main);
        const padding = 'é🚀'.repeat(EVENT_BYTES / 6);
        for (const index of sequence(EVENTS)) {
          await pusher.trigger(subscription.name, 'number', { index, padding });
        }
        await subscription.events.count(EVENTS);
        const received = subscription.dataOf('number');
        assert.deepEqual(
          received.map(({ index }) => index),
          sequence(EVENTS),
        );
        assert.ok(
          received.every((data) => data.padding === padding),
          'the data differs',
        );
        assert.deepEqual(subscriber.states.items, ['connected']);
        assert.deepEqual(subscriber.errors.items, []);
      });

      test('client events reach the others, and theirs come back', async (t) => {
        const [here, there] = await Promise.all([
          connect(t, route.subscribeEdge, [transport]),
          connect(t, route.publishEdge, ['ws']),
        ]);
        const channel = unique('private-chat');
        const [sending, receiving] = await Promise.all([here, there].map((client) => client.subscribe(channel)));
        sending.channel.trigger('client-typing', { who: 'ann' });
        assert.deepEqual((await receiving.event('client-typing')).data, { who: 'ann' });
        receiving.channel.trigger('client-typing', { who: 'bob' });
        assert.deepEqual((await sending.events.count(1))[0].data, { who: 'bob' });
      });

      test('unsubscribing and subscribing again ends subscribed', async (t) => {
        const subscriber = await connect(t, route.subscribeEdge, [transport]);
        const { name } = await subscriber.subscribe(unique('fallback'));
        subscriber.pusher.unsubscribe(name);
        // Sends are requests of their own: only what was answered is known to have come first.
        const pusher = publisher(t, route.subscribeEdge, apps.main);
        const other = await subscriber.subscribe(unique('other'));
        const again = await subscriber.subscribe(name);
        await pusher.trigger([name, other.name], 'event', 1);
        await Promise.all([again, other].map((subscription) => subscription.event('event')));
      });

      test('comes back after its connections were cut', async (t) => {
        const door = await FrontDoor.open(t, route.subscribeEdge);
        const subscriber = await connect(t, door, [transport]);
        const subscription = await subscriber.subscribe(unique('fallback'));
        const firstId = subscriber.socketId;
        const isNoticed = () => {
          if (subscriber.errors.items.length > 0) return true;
          // Between two polls there may be nothing to cut.
          door.cut();
          return false;
        };
        await eventually(isNoticed, 'the loss of the connection to be noticed');
        await subscriber.connected(2);
        assert.notEqual(subscriber.socketId, firstId);
        await subscription.notices.count(2, 'the subscription to be confirmed again');
        await publisher(t, route.publishEdge, apps.main).trigger(subscription.name, 'event', 1);
        await subscription.event('event');
        assert.equal(subscription.dataOf('event').length, 1);
      });

      test('gives up for good on an unknown key', async (t) => {
        const options = fallbackOptions(route.subscribeEdge, [transport]);
        const subscriber = new Subscriber(t, route.subscribeEdge, unknownApp, options);
        await subscriber.error(4001);
        await subscriber.states.find((state) => state === 'disconnected', 'the state disconnected');
      });
    });
  }

  test('pusher-js falls back by itself where no WebSocket gets through', { timeout: 2 * FALLBACK_MS }, async (t) => {
    const [nobody] = await freePorts(1);
    const options = {
      ...fallbackOptions(route.subscribeEdge, ['ws', 'xhr_streaming', 'xhr_polling']),
      wsPort: nobody,
    };
    const subscriber = new Subscriber(t, route.subscribeEdge, apps.main, options);
    await subscriber.connected(1, FALLBACK_MS);
    const subscription = await subscriber.subscribe(unique('fallback'));
    await publisher(t, route.publishEdge, apps.main).trigger(subscription.name, 'event', 1);
    await subscription.event('event');
  });
}
