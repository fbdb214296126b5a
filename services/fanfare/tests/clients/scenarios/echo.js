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
  async function connect(t, { edge = route.subscribeEdge, signer = apps.main, member } = {}) {
    const authEndpointUrl = await authEndpoint(t, signer, { member });
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
    test('§18.33 a public channel hears namespaced and plain events', async (t) => {
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

    test('§18.34 a private channel hears, and toOthers leaves the sender out', async (t) => {
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

    test('a presence channel: here, joining, leaving, and whispers that say from whom', async (t) => {
      const name = unique('room');
      const person = (id) => ({ user_id: id, user_info: { id, name: `the one called ${id}` } });
      const join = async (id, edge) => {
        const client = await connect(t, { edge, member: person(id) });
        const channel = client.join(name);
        const inboxes = { here: new Inbox(), joining: new Inbox(), leaving: new Inbox() };
        for (const [what, inbox] of Object.entries(inboxes)) channel[what]((info) => inbox.push(info));
        const [first] = await inboxes.here.count(1);
        return { client, channel, first, ...inboxes };
      };
      const ann = await join('ann', route.publishEdge);
      assert.deepEqual(ann.first, [person('ann').user_info]);
      const bob = await join('bob', route.subscribeEdge);
      assert.deepEqual(await ann.joining.count(1), [person('bob').user_info]);
      const whispers = new Inbox();
      ann.channel.subscription.bind('client-typing', (data, { user_id: from }) => whispers.push({ data, from }));
      bob.channel.whisper('typing', { now: true });
      assert.deepEqual(await whispers.count(1), [{ data: { now: true }, from: 'bob' }]);
      bob.client.leave(name);
      assert.deepEqual(await ann.leaving.count(1), [person('bob').user_info]);
      assert.deepEqual(bob.leaving.items, []);
      const again = await join('bob', route.subscribeEdge);
      const ids = again.first.map(({ id }) => id).sort();
      assert.deepEqual(ids, ['ann', 'bob']);
    });

    test('§18.33 an encrypted private channel hears namespaced events and notifications', async (t) => {
      const client = await connect(t);
      const name = unique('vault');
      const channel = client.encryptedPrivate(name);
      await subscribed(channel);
      const inboxes = [heard(channel, 'listen', 'OrderShipped'), new Inbox()];
      channel.notification((data) => inboxes[1].push(data));
      const pusher = publisher(t, route.publishEdge, apps.main);
      const events = ['App\\Events\\OrderShipped', 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated'];
      for (const event of events) await pusher.trigger(`private-encrypted-${name}`, event, { event });
      for (const [index, event] of events.entries()) assert.deepEqual(await inboxes[index].count(1), [{ event }]);
    });
  });
}
