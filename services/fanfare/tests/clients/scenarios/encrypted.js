// Encrypted channels, end to end: the libraries encrypt and decrypt, the server passes on what it cannot read.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { channelAuth, identifiedAs } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

export function encrypted(route) {
  const publisherOf = (t) => publisher(t, route.publishEdge, apps.main);

  async function subscribe(t, channel) {
    const options = await identifiedAs(t, apps.main);
    return (await Subscriber.connect(t, route.subscribeEdge, apps.main, options)).subscribe(channel);
  }

  async function eavesdrop(t, channel) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
    await socket.subscribe(channel, channelAuth(apps.main, await socket.socketId(), channel));
    return socket;
  }

  describe('encrypted channels', () => {
    test('§5 what one library encrypts the other decrypts, and nobody between can read it', async (t) => {
      const channel = unique('private-encrypted-vault');
      const subscription = await subscribe(t, channel);
      const socket = await eavesdrop(t, channel);
      const values = [{ text: 'Zoë 🚀' }, 'plain text', '', null, 7, [1, 2]];
      for (const value of values) await publisherOf(t).trigger(channel, 'secret', value);
      await subscription.events.count(values.length);
      assert.deepEqual(subscription.dataOf('secret'), values);
      const frames = await socket.events('secret', values.length);
      for (const { data } of frames) assert.deepEqual(Object.keys(JSON.parse(data)), ['nonce', 'ciphertext']);
      assert.ok(!frames.some(({ text }) => text.includes('plain text')));
    });

    test('a batch may mix encrypted channels with others', async (t) => {
      const [vault, open] = [unique('private-encrypted-vault'), unique('news')];
      const subscriptions = [await subscribe(t, vault), await subscribe(t, open)];
      await publisherOf(t).triggerBatch(
        [vault, open].map((channel) => ({ channel, name: 'event', data: { channel } })),
      );
      for (const subscription of subscriptions) {
        assert.deepEqual((await subscription.event('event')).data, { channel: subscription.name });
      }
    });

    test('the last event of an encrypted cache channel comes to who subscribes later', async (t) => {
      const channel = unique('private-encrypted-cache-vault');
      const early = await subscribe(t, channel);
      await early.notice('pusher:cache_miss');
      await publisherOf(t).trigger(channel, 'secret', { version: 1 });
      await publisherOf(t).trigger(channel, 'secret', { version: 2 });
      await early.events.count(2);
      const late = await subscribe(t, channel);
      assert.deepEqual((await late.event('secret')).data, { version: 2 });
      assert.deepEqual(late.events.items.length, 1);
    });

    test('they need a signature like private channels', async (t) => {
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      for (const channel of [unique('private-encrypted-vault'), unique('private-encrypted-cache-vault')]) {
        socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
        const { type, status } = await socket.refusalOf(channel);
        assert.deepEqual([type, status], ['AuthError', 401]);
      }
    });

    test('§18.32 pusher-js sends no client events there; who sends them by hand is served', async (t) => {
      const channel = unique('private-encrypted-vault');
      const subscription = await subscribe(t, channel);
      assert.throws(() => subscription.trigger('client-typing', {}), /not currently supported/);
      const [sender, receiver] = [await eavesdrop(t, channel), await eavesdrop(t, channel)];
      sender.send({ event: 'client-typing', channel, data: 'text' });
      assert.equal((await receiver.event('client-typing')).data, 'text');
    });
  });
}
