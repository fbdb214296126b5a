// laravel-echo with its pusher broadcaster.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { apps } from '../harness/apps.js';
import { authEndpoint, withWrongSecret } from '../harness/auth_endpoint.js';
import { Inbox } from '../harness/inbox.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { clientOptions } from '../harness/subscriber.js';
import { eventually, within } from '../harness/wait.js';

export function echo(route) {
  async function connect(t, { edge = route.subscribeEdge, signer = apps.main } = {}) {
    const authEndpointUrl = await authEndpoint(t, signer);
    const options = {
      ...clientOptions(edge),
      broadcaster: 'pusher',
      Pusher,
      key: apps.main.key,
      authEndpoint: authEndpointUrl,
    };
    const client = new Echo(options);
    t.after(() => client.disconnect());
    await eventually(() => client.connectionStatus() === 'connected', 'Echo to connect');
    return client;
  }

  const subscribed = (channel) =>
    within(new Promise((resolve) => channel.subscribed(resolve)), `${channel.name} to be subscribed`);

  /** What a channel hears, through `listen` or `listenForWhisper`. */
  function heard(channel, method, event) {
    const inbox = new Inbox();
    channel[method](event, (data) => inbox.push(data));
    return inbox;
  }

  describe('laravel-echo', () => {
    test('a public channel hears namespaced and plain events', async (t) => {
      const client = await connect(t);
      const channel = client.channel(unique('orders'));
      await subscribed(channel);
      const [namespaced, plain] = ['OrderShipped', '.order.shipped'].map((event) => heard(channel, 'listen', event));
      const pusher = publisher(t, route.publishEdge, apps.main);
      await pusher.trigger(channel.name, 'App\\Events\\OrderShipped', { id: 1 });
      await pusher.trigger(channel.name, 'order.shipped', { id: 2 });
      assert.deepEqual(await namespaced.count(1), [{ id: 1 }]);
      assert.deepEqual(await plain.count(1), [{ id: 2 }]);
    });

    test('a private channel hears, and toOthers leaves the sender out', async (t) => {
      const [sender, other] = await Promise.all([connect(t), connect(t, { edge: route.publishEdge })]);
      const name = unique('orders');
      const channels = [sender, other].map((client) => client.private(name));
      await Promise.all(channels.map(subscribed));
      const inboxes = channels.map((channel) => heard(channel, 'listen', '.changed'));
      const pusher = publisher(t, route.publishEdge, apps.main);
      await pusher.trigger(`private-${name}`, 'changed', { by: 'sender' }, { socket_id: sender.socketId() });
      await pusher.trigger(`private-${name}`, 'changed', { by: 'system' });
      assert.deepEqual(await inboxes[1].count(2), [{ by: 'sender' }, { by: 'system' }]);
      assert.deepEqual(await inboxes[0].count(1), [{ by: 'system' }]);
    });

    test('whispers reach the others on every edge', async (t) => {
      const clients = await Promise.all(
        [route.publishEdge, route.publishEdge, route.subscribeEdge].map((edge) => connect(t, { edge })),
      );
      const name = unique('chat');
      const channels = clients.map((client) => client.private(name));
      await Promise.all(channels.map(subscribed));
      const [own, near, far] = channels.map((channel) => heard(channel, 'listenForWhisper', 'typing'));
      channels[0].whisper('typing', { who: 'first' });
      await Promise.all([near.count(1), far.count(1)]);
      channels[2].whisper('typing', { who: 'third' });
      assert.deepEqual(await own.count(1), [{ who: 'third' }]);
      assert.deepEqual(await near.count(2), [{ who: 'first' }, { who: 'third' }]);
      assert.deepEqual(far.items, [{ who: 'first' }]);
    });

    test('a refused private channel reports its error', async (t) => {
      const client = await connect(t, { signer: withWrongSecret(apps.main) });
      const refusals = new Inbox();
      client.private(unique('orders')).error((error) => refusals.push(error));
      const [error] = await refusals.count(1);
      assert.deepEqual([error.type, error.status], ['AuthError', 401]);
    });

    test('leaving and joining again', async (t) => {
      const client = await connect(t);
      const name = unique('orders');
      const first = client.channel(name);
      await subscribed(first);
      const before = heard(first, 'listen', '.event');
      client.leave(name);
      const second = client.channel(name);
      await subscribed(second);
      const after = heard(second, 'listen', '.event');
      await publisher(t, route.publishEdge, apps.main).trigger(name, 'event', 1);
      assert.deepEqual(await after.count(1), [1]);
      assert.deepEqual(before.items, []);
    });
  });
}
