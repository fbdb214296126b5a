// What the HTTP API says about channels.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher, refusal } from '../harness/publisher.js';
import { signedGet } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

export function channelQueries(route) {
  const app = apps.listing;
  const connect = (t) => Subscriber.connect(t, route.subscribeEdge, app);

  /** The answer of an edge to a query, through the library. */
  async function query(t, path, params = {}, edge = route.subscribeEdge) {
    const response = await publisher(t, edge, app).get({ path, params });
    return response.json();
  }

  /** Counts may lag by moments: waits until the answer is this one. */
  async function answers(t, path, params, expected, edge) {
    let last;
    const right = async () => {
      last = await query(t, path, params, edge);
      try {
        assert.deepEqual(last, expected);
        return true;
      } catch {
        return false;
      }
    };
    await eventually(right, `${path} to answer ${JSON.stringify(expected)}`).catch((error) => {
      error.message += `\n  it answered ${JSON.stringify(last)}`;
      throw error;
    });
  }

  describe('asking for channels', () => {
    test('no channel: an empty object, not a list', async (t) => {
      await answers(t, '/channels', { filter_by_prefix: unique('nobody') }, { channels: {} });
      await answers(t, '/channels', {}, { channels: {} });
    });

    test('occupied channels are listed, by prefix if asked', async (t) => {
      const subscriber = await connect(t);
      const [one, two] = [unique('list-a'), unique('list-b')];
      await Promise.all([one, two].map((channel) => subscriber.subscribe(channel)));
      await answers(t, '/channels', {}, { channels: { [one]: {}, [two]: {} } });
      await answers(t, '/channels', { filter_by_prefix: 'list-a' }, { channels: { [one]: {} } });
    });

    test('one channel: occupied or not', async (t) => {
      const subscriber = await connect(t);
      const { name } = await subscriber.subscribe(unique('single'));
      await answers(t, `/channels/${name}`, {}, { occupied: true });
      assert.deepEqual(await query(t, `/channels/${unique('vacant')}`), { occupied: false });
      subscriber.pusher.unsubscribe(name);
      await answers(t, `/channels/${name}`, {}, { occupied: false });
    });

    test('a closed connection leaves its channels', async (t) => {
      const subscriber = await connect(t);
      const { name } = await subscriber.subscribe(unique('closing'));
      await answers(t, `/channels/${name}`, {}, { occupied: true });
      subscriber.pusher.disconnect();
      await answers(t, `/channels/${name}`, {}, { occupied: false });
    });

    test('subscription_count counts connections', async (t) => {
      const channel = unique('counted');
      const subscribers = await Promise.all([connect(t), connect(t), connect(t)]);
      await Promise.all(subscribers.map((subscriber) => subscriber.subscribe(channel)));
      const info = { info: 'subscription_count' };
      await answers(t, `/channels/${channel}`, info, { occupied: true, subscription_count: 3 });
      await answers(t, '/channels', info, { channels: { [channel]: { subscription_count: 3 } } });
      subscribers[0].pusher.disconnect();
      await answers(t, `/channels/${channel}`, info, { occupied: true, subscription_count: 2 });
    });

    test('every edge answers for the whole cluster', async (t) => {
      const subscriber = await connect(t);
      const { name } = await subscriber.subscribe(unique('cluster'));
      await answers(t, `/channels/${name}`, {}, { occupied: true }, route.publishEdge);
      await answers(t, '/channels', {}, { channels: { [name]: {} } }, route.publishEdge);
    });

    test('a channel name may be percent-encoded', async (t) => {
      const subscriber = await connect(t);
      const { name } = await subscriber.subscribe(`${unique('odd')};=@,.`);
      await answers(t, `/channels/${name}`, {}, { occupied: true });
      const encoded = await signedGet(route.subscribeEdge, app, `/channels/${encodeURIComponent(name)}`);
      assert.deepEqual(encoded.json(), { occupied: true });
    });

    test('user_count without presence channels is 400', async (t) => {
      const pusher = publisher(t, route.subscribeEdge, app);
      const params = { info: 'user_count' };
      for (const path of ['/channels', '/channels/ordinary']) {
        assert.equal((await refusal(pusher.get({ path, params }))).status, 400);
      }
    });

    test('a bad channel name is 400', async () => {
      assert.equal((await signedGet(route.subscribeEdge, app, '/channels/a%20b')).status, 400);
    });
  });
}
