// Cache channels: who subscribes gets the last published event, or is told that there is none.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLEETING_SECONDS, apps } from '../harness/apps.js';
import { channelAuth, identifiedAs } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { signedGet } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

const SUCCEEDED = 'pusher_internal:subscription_succeeded';
const MISS = 'pusher:cache_miss';
const LONGEST_TTL_SECONDS = 1800;

export function cacheChannels(route) {
  const publisherOf = (t, app = apps.main) => publisher(t, route.publishEdge, app);

  /** A bare client on the channel, and what it is told of it up to and including the first frame after the success. */
  async function subscribe(t, channel, app = apps.main) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, app);
    if (channel.startsWith('presence-')) await socket.join(app, channel, { user_id: 'ann' });
    else if (channel.startsWith('private-')) {
      await socket.subscribe(channel, channelAuth(app, await socket.socketId(), channel));
    } else await socket.subscribe(channel);
    await socket.happened.until(() => told(socket, channel).length >= 2, `what is cached on ${channel}`);
    return { socket, frames: told(socket, channel) };
  }

  const told = (socket, channel) =>
    socket.frames
      .filter((frame) => frame.channel === channel && !frame.event.startsWith('pusher_internal:member_'))
      .map(({ event, data }) => [event, data]);

  async function client(t, edge = route.subscribeEdge) {
    return Subscriber.connect(t, edge, apps.main, await identifiedAs(t, apps.main, { member: { user_id: 'bob' } }));
  }

  describe('cache channels', () => {
    for (const kind of ['cache-', 'private-cache-', 'presence-cache-', 'private-encrypted-cache-']) {
      test(`§18.10 §18.11 ${kind} the cached event straight after success, or cache_miss`, async (t) => {
        const channel = unique(`${kind}rates`);
        const { socket, frames } = await subscribe(t, channel);
        assert.deepEqual(frames.slice(1), [[MISS, '{}']]);
        assert.equal(frames[0][0], SUCCEEDED);
        const text = '{ "eur" : 1.0800 }';
        // By hand: the library would encrypt it where the channel is encrypted.
        await publisherOf(t).post({ path: '/events', body: { name: 'rate', data: text, channels: [channel] } });
        await socket.event('rate');
        const late = await subscribe(t, channel);
        assert.deepEqual([late.frames[0][0], late.frames[1]], [SUCCEEDED, ['rate', text]]);
      });
    }

    test('pusher-js delivers both on the channel', async (t) => {
      const channel = unique('private-cache-rates');
      const early = await (await client(t)).subscribe(channel);
      await early.notice(MISS);
      await publisherOf(t).trigger(channel, 'rate', { eur: 1.08 });
      await early.event('rate');
      const late = await (await client(t)).subscribe(channel);
      assert.deepEqual((await late.event('rate')).data, { eur: 1.08 });
      assert.deepEqual(late.noticed('cache_miss'), []);
    });

    test('published with nobody there, the last event is kept, by every way to publish', async (t) => {
      const channel = unique('cache-rates');
      const pusher = publisherOf(t);
      await pusher.trigger([channel, unique('other')], 'rate', '1');
      const first = await subscribe(t, channel);
      assert.deepEqual(first.frames[1], ['rate', '1']);
      await pusher.triggerBatch(['2', '3'].map((data) => ({ channel, name: 'batched', data })));
      await first.socket.events('batched', 2);
      assert.deepEqual((await subscribe(t, channel)).frames[1], ['batched', '3']);
    });

    test('each subscription gets it once, also the second of one connection', async (t) => {
      const channel = unique('cache-rates');
      await publisherOf(t).trigger(channel, 'rate', '1');
      const { socket } = await subscribe(t, channel);
      socket.send({ event: 'pusher:unsubscribe', data: { channel } });
      socket.send({ event: 'pusher:subscribe', data: { channel } });
      await socket.events('rate', 2);
      await publisherOf(t).trigger(channel, 'last', '2');
      await socket.event('last');
      assert.deepEqual(
        told(socket, channel).map(([event]) => event),
        [SUCCEEDED, 'rate', SUCCEEDED, 'rate', 'last'],
      );
    });

    test('an event that left out a socket is cached all the same', async (t) => {
      const channel = unique('cache-rates');
      const [{ socket }, witness] = [await subscribe(t, channel), await subscribe(t, channel)];
      await publisherOf(t).trigger(channel, 'rate', '1', { socket_id: await socket.socketId() });
      // Who subscribes before its node has it, gets it live.
      await witness.socket.event('rate');
      assert.deepEqual((await subscribe(t, channel)).frames[1], ['rate', '1']);
      assert.deepEqual(socket.all('rate'), []);
    });

    test('§7 client events are not cached', async (t) => {
      const channel = unique('private-cache-rates');
      const [sender, receiver] = [await subscribe(t, channel), await subscribe(t, channel)];
      sender.socket.send({ event: 'client-rate', channel, data: 'by a client' });
      await receiver.socket.event('client-rate');
      assert.deepEqual((await subscribe(t, channel)).frames[1], [MISS, '{}']);
      await publisherOf(t).trigger(channel, 'rate', 'published');
      await receiver.socket.event('rate');
      sender.socket.send({ event: 'client-rate', channel, data: 'by a client' });
      await receiver.socket.events('client-rate', 2);
      assert.deepEqual((await subscribe(t, channel)).frames[1], ['rate', 'published']);
    });

    test('§5 only the prefix makes a cache channel', async (t) => {
      const channel = unique('my-cache-rates');
      await publisherOf(t).trigger(channel, 'rate', '1');
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      await socket.subscribe(channel);
      await publisherOf(t).trigger(channel, 'last', '2');
      await socket.event('last');
      assert.deepEqual(
        told(socket, channel).map(([event]) => event),
        [SUCCEEDED, 'last'],
      );
    });

    test('who subscribes while events are published gets each from the first one on once', async (t) => {
      const channel = unique('cache-counter');
      const pusher = publisherOf(t);
      let stopped = false;
      t.after(() => (stopped = true));
      const publishing = (async () => {
        for (let number = 0; !stopped; number += 1) await pusher.trigger(channel, 'number', String(number));
      })();
      publishing.catch(() => {});
      const sockets = [];
      for (let round = 0; round < 20; round += 1) {
        const socket = await RawSocket.connect(t, round % 2 ? route.subscribeEdge : route.publishEdge, apps.main);
        await socket.subscribe(channel);
        await socket.events('number', 3);
        sockets.push(socket);
      }
      stopped = true;
      await publishing;
      await pusher.trigger(channel, 'end', '');
      for (const socket of sockets) {
        await socket.event('end');
        const numbers = socket.all('number').map(({ data }) => Number(data));
        assert.deepEqual(
          numbers,
          numbers.map((_, index) => numbers[0] + index),
        );
      }
    });

    test('§11 info=cache tells what is cached and for how long', async (t) => {
      const channel = unique('cache-rates');
      await subscribe(t, channel);
      assert.equal((await info(channel)).cache ?? null, null);
      await publisherOf(t).trigger(channel, 'rate', '{ "eur" : 1.0800 }');
      await isCached(channel, '{ "eur" : 1.0800 }');
      const { occupied, cache } = await info(channel);
      assert.equal(occupied, true);
      assert.ok(cache.ttl > LONGEST_TTL_SECONDS - 120 && cache.ttl <= LONGEST_TTL_SECONDS, `ttl ${cache.ttl}`);
    });

    test('how long it is kept is the app’s choice', async (t) => {
      const channel = unique('cache-rates');
      await publisherOf(t, apps.fleeting).trigger(channel, 'rate', '1');
      const { socket } = await subscribe(t, channel, apps.fleeting);
      assert.equal((await socket.event('rate')).data, '1');
      const { cache } = await info(channel, apps.fleeting);
      assert.ok(cache.ttl > 0 && cache.ttl <= FLEETING_SECONDS, `ttl ${cache.ttl}`);
    });

    async function info(channel, app = apps.main) {
      const query = { info: 'cache' };
      const answer = await signedGet(route.subscribeEdge, app, `/channels/${channel}`, { query });
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    }

    /** Waits until the receiving edge has cached this. */
    const isCached = (channel, data) =>
      eventually(async () => (await info(channel)).cache?.data === data, `${data} to be cached on ${channel}`);
  });
}
