// The helper of docs/recovery.md: a page that shows every number once and in order, whatever happens to its connection.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { authEndpoint, authorizedBy } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { AWAY_MS, NumbersApp, usePages } from '../harness/numbers_app.js';
import { fallbackOptions } from '../harness/subscriber.js';

const TEST_MS = 600_000;
/** Numbers before and after a fault. */
const SOME = 50;
const CUTS = 3;
const REJOINS = 5;
/** Messages that a channel keeps unless configured otherwise. */
const KEPT_MESSAGES = 100;
/** Events in one answer, and in one batch. */
const [ANSWER, BATCH] = [1_000, 10];

/** An application at the edge that stays, and its page in Chromium and on node, by a front door at the other edge. */
async function setUp(t, pages, route, { prefix = 'numbers', optionsFor = async () => ({}) } = {}) {
  const door = await FrontDoor.open(t, route.subscribeEdge);
  const options = await optionsFor(door);
  const numbers = new NumbersApp(t, route.publishEdge, apps.main, unique(prefix));
  await numbers.publish();
  const viewers = await Promise.all([
    numbers.openInBrowser(pages, door, { options }),
    numbers.openOnNode(door, { options }),
  ]);
  await Promise.all(viewers.map((viewer) => viewer.hasAsked(1)));
  return { door, numbers, viewers };
}

const all = (viewers, act) => Promise.all(viewers.map(act));

/** Waits until everything is on every page, and checks that it is there once and in order. */
async function showEverything(viewers, numbers, { reloads = 0 } = {}) {
  for (const viewer of viewers) {
    await viewer.shows(numbers.numbers.length, AWAY_MS);
    assert.deepEqual(viewer.shown, numbers.numbers, `what is on the ${viewer.name}`);
    assert.equal(viewer.reloads, reloads, `reloads of the ${viewer.name}`);
  }
}

/** Faults under a stream of numbers. */
export function catchingUp(route) {
  describe('a page that catches up', () => {
    const pages = usePages();

    /** Lets `fault` happen while numbers are published; every page has to come back and miss nothing. */
    async function survives(t, fault, { times = 1, ...rest } = {}) {
      const setting = await setUp(t, pages, route, rest);
      const { numbers, viewers } = setting;
      const stop = numbers.stream(viewers);
      for (let time = 1; time <= times; time += 1) {
        const begun = numbers.numbers.length;
        await all(viewers, (viewer) => viewer.shows(begun + SOME));
        await fault(setting);
        await all(viewers, (viewer) => viewer.hasAsked(time + 1, AWAY_MS));
      }
      await all(viewers, (viewer) => viewer.shows(numbers.numbers.length + SOME));
      await stop();
      await showEverything(viewers, numbers);
      const caughtUp = viewers.map((viewer) => viewer.caughtUp);
      t.diagnostic(`${numbers.numbers.length} numbers, of which ${caughtUp.join(' and ')} came from the history`);
      assert.ok(caughtUp.every((count) => count > 0));
    }

    /** Sends everybody to the edge that stays. */
    const moveAway = ({ door }) => door.leadTo(route.publishEdge);

    test('when its connection is cut, again and again', { timeout: TEST_MS }, (t) =>
      survives(t, ({ door }) => door.cut(), { times: CUTS }),
    );

    test('when its edge is killed', { timeout: TEST_MS }, async (t) => {
      await survives(t, async (setting) => {
        moveAway(setting);
        await route.subscribeEdge.kill();
      });
      await route.subscribeEdge.start();
    });

    test('when its edge is stopped', { timeout: TEST_MS }, async (t) => {
      await survives(t, async (setting) => {
        // As a load balancer does while the grace lasts; here nothing depends on who is faster.
        moveAway(setting);
        await route.subscribeEdge.drained();
      });
      await route.subscribeEdge.start();
    });

    test('when it leaves the channel and comes back at once', { timeout: TEST_MS }, (t) =>
      survives(t, ({ viewers }) => all(viewers, (viewer) => viewer.rejoin()), { times: REJOINS }),
    );

    test('on an encrypted channel', { timeout: TEST_MS }, async (t) => {
      const optionsFor = async () => authorizedBy(await authEndpoint(t, apps.main));
      await survives(t, ({ door }) => door.cut(), { prefix: 'private-encrypted-numbers', optionsFor });
    });

    test('over the HTTP fallback', { timeout: TEST_MS }, async (t) => {
      const optionsFor = async (door) => fallbackOptions(door, ['xhr_streaming']);
      await survives(t, ({ door }) => door.cut(), { optionsFor });
    });

    test('that missed more than fits into one answer', { timeout: TEST_MS }, async (t) => {
      const { door, numbers, viewers } = await setUp(t, pages, route);
      await numbers.publish();
      door.leadTo({ host: door.host, port: 1 });
      door.cut();
      while (numbers.numbers.length < 1.5 * ANSWER) await numbers.publish(BATCH);
      door.leadTo(route.subscribeEdge);
      await showEverything(viewers, numbers);
      for (const { answers } of viewers) assert.ok(answers.items.some(({ more }) => more));
    });
  });
}

/** What does not need a cluster. */
export function continuity(route) {
  describe('a page that catches up', () => {
    const pages = usePages();

    test('begins where it was rendered', async (t) => {
      const numbers = new NumbersApp(t, route.publishEdge, apps.main, unique('numbers'));
      await numbers.publish(3);
      const rendered = await numbers.rendered();
      await numbers.publish(2);
      await numbers.publish();
      const viewers = [
        await numbers.openInBrowser(pages, route.subscribeEdge, { rendered }),
        await numbers.openOnNode(route.subscribeEdge, { rendered }),
      ];
      await showEverything(viewers, numbers);
      for (const viewer of viewers) assert.equal(viewer.caughtUp, 3);
    });

    test('lets live events wait for those before them, also when it is cut off meanwhile', async (t) => {
      const { door, numbers, viewers } = await setUp(t, pages, route);
      const releases = viewers.map((viewer) => viewer.hold());
      door.cut();
      await numbers.publish(2);
      await all(viewers, (viewer) => viewer.hasAsked(2));
      await numbers.publish();
      await all(viewers, (viewer) => viewer.hears(1));
      for (const viewer of viewers) assert.deepEqual(viewer.shown, [0]);
      door.cut();
      await numbers.publish(2);
      releases.forEach((release) => release());
      await all(viewers, (viewer) => viewer.hasAsked(3));
      await showEverything(viewers, numbers);
    });

    test('leaves the channel while it waits, and misses nothing when it is back', async (t) => {
      const { numbers, viewers } = await setUp(t, pages, route);
      await all(viewers, (viewer) => viewer.leave());
      await numbers.publish(2);
      const releases = viewers.map((viewer) => viewer.hold());
      await all(viewers, (viewer) => viewer.join());
      await all(viewers, (viewer) => viewer.hasAsked(2));
      await numbers.publish();
      await all(viewers, (viewer) => viewer.hears(1));
      await all(viewers, (viewer) => viewer.leave());
      // What comes now comes while nobody listens, and counts for nothing.
      releases.forEach((release) => release());
      await all(viewers, (viewer) => viewer.answered.count(2));
      await numbers.publish();
      await all(viewers, (viewer) => viewer.join());
      await showEverything(viewers, numbers);
    });

    test('is told once that too much was missed, and goes on from its new state', { timeout: TEST_MS }, async (t) => {
      const { door, numbers, viewers } = await setUp(t, pages, route);
      door.leadTo({ host: door.host, port: 1 });
      door.cut();
      for (let count = 0; count <= KEPT_MESSAGES; count += 1) await numbers.publish();
      door.leadTo(route.subscribeEdge);
      await all(viewers, (viewer) => viewer.hasAsked(2, AWAY_MS));
      await showEverything(viewers, numbers, { reloads: 1 });
      for (const { answers } of viewers) assert.equal(answers.items.at(-1).complete, false);
      await numbers.publish(3);
      await showEverything(viewers, numbers, { reloads: 1 });
      door.cut();
      await numbers.publish();
      await showEverything(viewers, numbers, { reloads: 1 });
    });

    test('loads its state anew when it cannot learn what it missed', async (t) => {
      const { door, numbers, viewers } = await setUp(t, pages, route);
      viewers.forEach((viewer) => viewer.refuse());
      door.cut();
      await numbers.publish(2);
      await all(viewers, (viewer) => viewer.told.until(() => viewer.reloads === 1, `a reload of the ${viewer.name}`));
      await showEverything(viewers, numbers, { reloads: 1 });
      await numbers.publish();
      await showEverything(viewers, numbers, { reloads: 1 });
    });

    for (const isRefused of [false, true]) {
      const addition = isRefused ? ', and nobody tells it' : '';
      const title = `loads its state anew when its position is of another log${addition}`;
      test(title, async (t) => {
        const numbers = new NumbersApp(t, route.publishEdge, apps.main, unique('numbers'));
        await numbers.publish(3);
        const setting = { rendered: { state: [], position: 'ffffffffffffffff-5' }, isRefused };
        const viewers = [
          await numbers.openInBrowser(pages, route.subscribeEdge, setting),
          await numbers.openOnNode(route.subscribeEdge, setting),
        ];
        await showEverything(viewers, numbers, { reloads: 1 });
        await numbers.publish();
        await showEverything(viewers, numbers, { reloads: 1 });
      });
    }
  });
}
