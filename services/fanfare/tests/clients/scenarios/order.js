// Events of a channel arrive in the order in which they were published.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { Subscriber } from '../harness/subscriber.js';

const EVENTS = 1_000;
const CHANNELS = 8;
const EVENTS_PER_CHANNEL = 100;
/** Publishing one after the other takes a round trip each. */
const PUBLISHING_MS = 600_000;

const sequence = (length) => Array.from({ length }, (_, index) => index);

async function publishInOrder(pusher, channel, count) {
  for (const index of sequence(count)) await pusher.trigger(channel, 'number', { index });
}

async function assertInOrder(subscription, count) {
  await subscription.events.count(count, `${count} events on ${subscription.name}`);
  assert.deepEqual(
    subscription.dataOf('number').map(({ index }) => index),
    sequence(count),
    subscription.name,
  );
}

export function order(route) {
  const connect = (t, edge) => Subscriber.connect(t, edge, apps.main);

  describe('order', () => {
    test(`§18.48 ${EVENTS} events of one channel`, { timeout: PUBLISHING_MS }, async (t) => {
      const channel = unique('ordered');
      const subscribers = await Promise.all([route.subscribeEdge, route.publishEdge].map((edge) => connect(t, edge)));
      const subscriptions = await Promise.all(subscribers.map((subscriber) => subscriber.subscribe(channel)));
      await publishInOrder(publisher(t, route.publishEdge, apps.main), channel, EVENTS);
      for (const subscription of subscriptions) await assertInOrder(subscription, EVENTS);
    });

    test(`§18.48 ${CHANNELS} channels at once`, { timeout: PUBLISHING_MS }, async (t) => {
      const subscriber = await connect(t, route.subscribeEdge);
      const subscriptions = await Promise.all(
        sequence(CHANNELS).map((index) => subscriber.subscribe(unique(`lane-${index}`))),
      );
      const pusher = publisher(t, route.publishEdge, apps.main);
      await Promise.all(subscriptions.map(({ name }) => publishInOrder(pusher, name, EVENTS_PER_CHANNEL)));
      for (const subscription of subscriptions) await assertInOrder(subscription, EVENTS_PER_CHANNEL);
    });

    test(
      '§18.48 publishers on both edges: everybody sees one and the same order',
      { timeout: PUBLISHING_MS },
      async (t) => {
        const channel = unique('shared');
        const edges = [route.subscribeEdge, route.publishEdge];
        const subscribers = await Promise.all(edges.map((edge) => connect(t, edge)));
        const subscriptions = await Promise.all(subscribers.map((subscriber) => subscriber.subscribe(channel)));
        const publish = async (edge, source) => {
          const pusher = publisher(t, edge, apps.main);
          for (const index of sequence(EVENTS_PER_CHANNEL)) await pusher.trigger(channel, 'number', { source, index });
        };
        await Promise.all(edges.map((edge, source) => publish(edge, source)));
        const [one, other] = await Promise.all(
          subscriptions.map(async (subscription) => {
            await subscription.events.count(2 * EVENTS_PER_CHANNEL);
            return subscription.dataOf('number');
          }),
        );
        assert.deepEqual(one, other);
        for (const source of [0, 1]) {
          const ofSource = one.filter((event) => event.source === source).map(({ index }) => index);
          assert.deepEqual(ofSource, sequence(EVENTS_PER_CHANNEL), `publisher ${source}`);
        }
      },
    );
  });
}
