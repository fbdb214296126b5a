// Private channels, authorized by the application's own server.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { authEndpoint, authorizedBy, channelAuth, withWrongSecret } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

export function privateChannels(route) {
  async function connect(t, signer) {
    const endpoint = await authEndpoint(t, signer);
    return Subscriber.connect(t, route.subscribeEdge, apps.main, authorizedBy(endpoint));
  }

  async function refusedWith(t, makeAuth) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
    const channel = unique('private-orders');
    const auth = makeAuth(await socket.socketId(), channel);
    socket.send({ event: 'pusher:subscribe', data: { channel, auth } });
    const { data } = await socket.event('pusher:subscription_error', (frame) => frame.channel === channel);
    assert.deepEqual([data.type, data.status], ['AuthError', 401]);
    return { socket, channel, data };
  }

  describe('private channels', () => {
    test('a good signature lets in', async (t) => {
      const subscription = await (await connect(t, apps.main)).subscribe(unique('private-orders'));
      await publisher(t, route.publishEdge, apps.main).trigger(subscription.name, 'shipped', { id: 17 });
      assert.deepEqual((await subscription.event('shipped')).data, { id: 17 });
    });

    test('a bad signature is told to the channel, and the connection stays', async (t) => {
      const subscriber = await connect(t, withWrongSecret(apps.main));
      const refused = subscriber.join(unique('private-orders'));
      const { data } = await refused.notice('pusher:subscription_error');
      assert.deepEqual([data.type, data.status], ['AuthError', 401]);
      const open = await subscriber.subscribe(unique('open'));
      const pusher = publisher(t, route.publishEdge, apps.main);
      await pusher.trigger([refused.name, open.name], 'event', 1);
      await open.event('event');
      assert.deepEqual(refused.events.items, []);
      assert.equal(subscriber.state, 'connected');
    });

    test('a signature for another channel, another socket, another app or none is refused', async (t) => {
      const { socket, channel } = await refusedWith(t, (id) => channelAuth(apps.main, id, 'private-other'));
      await socket.subscribe(channel, channelAuth(apps.main, await socket.socketId(), channel));
      await refusedWith(t, (_, name) => channelAuth(apps.main, '1.1', name));
      await refusedWith(t, (id, name) => channelAuth(apps.listing, id, name));
      await refusedWith(t, () => '');
      await refusedWith(t, () => undefined);
      await refusedWith(t, () => 'no colon');
      await refusedWith(t, (id, name) => channelAuth(apps.main, id, name).toUpperCase());
    });

    test('a refusal reveals neither the secret nor the right signature', async (t) => {
      const { data, socket, channel } = await refusedWith(t, (id, name) =>
        channelAuth(withWrongSecret(apps.main), id, name),
      );
      const right = channelAuth(apps.main, await socket.socketId(), channel).split(':')[1];
      const text = JSON.stringify(data);
      assert.ok(!text.includes(right) && !text.includes(apps.main.secret), text);
    });
  });
}
