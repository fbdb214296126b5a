// Edges that stop under connected clients. Each test leaves the site running again.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { authEndpoint, authorizedBy } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

/** After a refused attempt pusher-js waits 15 s, then 30 s. */
const RECONNECT_MS = 120_000;
/** Sooner than pusher-js would come back after a refused attempt. */
const AT_ONCE_MS = 12_000;
const TEST_MS = 600_000;

const RECONNECT_NOW = 4200;

/** A client of `address` with a public and a private channel, which checks that it hears what `edge` publishes. */
async function client(t, address) {
  const endpoint = await authEndpoint(t, apps.main);
  const subscriber = await Subscriber.connect(t, address, apps.main, authorizedBy(endpoint));
  const subscriptions = await Promise.all(['open', 'private-closed'].map((name) => subscriber.subscribe(unique(name))));

  async function hears(edge) {
    const event = unique('event');
    await publisher(t, edge, apps.main).trigger(
      subscriptions.map(({ name }) => name),
      event,
      1,
    );
    for (const subscription of subscriptions) {
      await subscription.event(event);
      assert.equal(subscription.dataOf(event).length, 1);
    }
  }

  /** Waits until everything is subscribed for the second time. */
  async function isBack(ms) {
    await subscriber.connected(2, ms);
    for (const { name, notices } of subscriptions) {
      const again = (items) => items.filter(({ event }) => event === 'pusher:subscription_succeeded').length >= 2;
      await notices.until(again, `${name} to be subscribed again`);
    }
  }

  return { subscriber, hears, isBack };
}

/** A client whose own edge is started again on the same address. */
export function restarting(route) {
  describe('an edge is started again', () => {
    test('after kill -9, pusher-js comes back by itself', { timeout: TEST_MS }, async (t) => {
      const { subscriber, hears, isBack } = await client(t, route.subscribeEdge);
      const firstId = subscriber.socketId;
      await hears(route.publishEdge);
      await route.subscribeEdge.kill();
      await route.subscribeEdge.start();
      await isBack(RECONNECT_MS);
      assert.notEqual(subscriber.socketId, firstId);
      await hears(route.publishEdge);
    });

    test('§18.41 after SIGTERM, it is told to reconnect and does', { timeout: TEST_MS }, async (t) => {
      const { subscriber, hears, isBack } = await client(t, route.subscribeEdge);
      await hears(route.publishEdge);
      route.subscribeEdge.beginDrain();
      await subscriber.error(RECONNECT_NOW);
      assert.deepEqual(await route.subscribeEdge.drained(), { code: 0, signal: null });
      await route.subscribeEdge.start();
      await isBack(RECONNECT_MS);
      await hears(route.publishEdge);
    });
  });
}

/** The edge that stops, and the one that goes on. */
const edges = (route) => ({ leaving: route.subscribeEdge, staying: route.publishEdge });

/** Clients that come in by a load balancer, and another edge to go to. */
export function failingOver(route) {
  /** Publishes numbers at the staying edge until it is told to stop; a subscriber there must see each once, in order. */
  async function steadyTraffic(t) {
    const channel = unique('steady');
    const subscription = await (await Subscriber.connect(t, route.publishEdge, apps.main)).subscribe(channel);
    const pusher = publisher(t, route.publishEdge, apps.main);
    let stopped = false;
    const published = (async () => {
      let count = 0;
      for (; !stopped; count += 1) await pusher.trigger(channel, 'number', count);
      return count;
    })();
    published.catch(() => {});
    t.after(() => {
      stopped = true;
    });
    return async () => {
      stopped = true;
      const count = await published;
      await subscription.events.count(count);
      assert.deepEqual(
        subscription.dataOf('number'),
        Array.from({ length: count }, (_, index) => index),
      );
    };
  }

  describe('an edge leaves', () => {
    test(
      'after kill -9, its clients go to the other edge and nobody there notices',
      { timeout: TEST_MS },
      async (t) => {
        const { leaving, staying } = edges(route);
        const door = await FrontDoor.open(t, leaving);
        const { hears, isBack } = await client(t, door);
        const unharmed = await steadyTraffic(t);
        door.leadTo(staying);
        await leaving.kill();
        await isBack(RECONNECT_MS);
        await hears(staying);
        await unharmed();
        await leaving.start();
        await hears(leaving);
      },
    );

    test('after SIGTERM, its clients are moved at once and it ends by itself', { timeout: TEST_MS }, async (t) => {
      const { leaving, staying } = edges(route);
      const door = await FrontDoor.open(t, leaving);
      const { subscriber, hears, isBack } = await client(t, door);
      const unharmed = await steadyTraffic(t);
      // A load balancer has the grace for this; here nothing depends on who is faster.
      door.leadTo(staying);
      leaving.beginDrain();
      await eventually(
        async () => !(await leaving.isReady().catch(() => false)),
        `${leaving.name} to be no longer ready`,
      );
      await subscriber.error(RECONNECT_NOW);
      await isBack(AT_ONCE_MS);
      assert.deepEqual(await leaving.drained(), { code: 0, signal: null });
      await hears(staying);
      await unharmed();
      await leaving.start();
      await hears(leaving);
    });
  });
}
