// What an operator does with `fanfare admin`, and what clients see of it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createApp, createKey, listApps, revokeKey, runAdmin } from '../harness/admin.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { isKnownAt, signedGet } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

/** Connections of a revoked key are no longer authorized; later attempts find no such key. */
const REVOKED = 4009;
const UNKNOWN_KEY = 4001;

export function administration(route) {
  const edges = () => [route.publishEdge, route.subscribeEdge];

  async function usableApp() {
    const { id } = await createApp(route.controlNode, unique('shop'));
    return usableKey(id);
  }

  /** Credentials of a new key, once every edge knows it. */
  async function usableKey(appId) {
    const app = await createKey(route.controlNode, appId);
    for (const edge of edges()) await eventually(() => isKnownAt(edge, app), `${edge.name} to know the new key`);
    return app;
  }

  async function assertFails(words, options) {
    const { code, stdout, stderr } = await runAdmin(route.controlNode, words, options);
    assert.ok(Number.isInteger(code) && code > 0, `exit code ${code}`);
    assert.ok(stderr.trim().length > 0, 'an explanation on stderr');
    assert.ok(!/panicked|stack backtrace/.test(stderr), stderr);
    assert.equal(stdout, '');
  }

  describe('administration', () => {
    test('§18.47 a new app is listed and has an id of digits', async () => {
      const name = unique('shop');
      const { id } = await createApp(route.controlNode, name);
      assert.match(id, /^\d+$/);
      const listed = await listApps(route.controlNode);
      assert.equal(listed.find((app) => app.id === id)?.name, name);
    });

    test('a new app works on every edge', async (t) => {
      const app = await usableApp();
      const subscribers = await Promise.all(edges().map((edge) => Subscriber.connect(t, edge, app)));
      const channel = unique('news');
      const subscriptions = await Promise.all(subscribers.map((subscriber) => subscriber.subscribe(channel)));
      await publisher(t, route.publishEdge, app).trigger(channel, 'headline', 'new');
      for (const subscription of subscriptions) assert.equal((await subscription.event('headline')).data, 'new');
    });

    test('a revoked key closes what it opened on every edge, and only that', async (t) => {
      const revoked = await usableApp();
      const kept = await usableKey(revoked.id);
      const losing = await Promise.all(edges().map((edge) => Subscriber.connect(t, edge, revoked)));
      const keeping = await (await Subscriber.connect(t, route.subscribeEdge, kept)).subscribe(unique('news'));
      await revokeKey(route.controlNode, revoked);
      for (const subscriber of losing) {
        await subscriber.error(REVOKED);
        await subscriber.states.find((state) => state === 'disconnected', 'the state disconnected');
      }
      for (const edge of edges()) {
        const late = new Subscriber(t, edge, revoked);
        await late.error(UNKNOWN_KEY);
        assert.equal((await signedGet(edge, revoked, '/channels')).status, 401);
      }
      await publisher(t, route.publishEdge, kept).trigger(keeping.name, 'headline', 'still here');
      await keeping.event('headline');
    });

    test('mistakes are explained', async () => {
      await assertFails(['app', 'list'], { token: 'wrong' });
      await assertFails(['key', 'create', '123456789']);
      await assertFails(['app', 'dance']);
    });
  });
}
