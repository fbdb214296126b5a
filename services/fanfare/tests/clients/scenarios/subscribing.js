// Subscribing, unsubscribing, and doing either twice.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';

const SUCCEEDED = 'pusher_internal:subscription_succeeded';

export function subscribing(route) {
  const rawSocket = (t) => RawSocket.connect(t, route.subscribeEdge, apps.main);
  const publisherOf = (t) => publisher(t, route.publishEdge, apps.main);

  describe('subscribing', () => {
    test('§18.8 success is confirmed with data "{}"', async (t) => {
      const socket = await rawSocket(t);
      const channel = unique('plain');
      await socket.subscribe(channel);
      assert.deepEqual(
        socket.all(SUCCEEDED).map(({ channel: name, data }) => ({ name, data })),
        [{ name: channel, data: '{}' }],
      );
    });

    test('what is published after the confirmation arrives, every time', async (t) => {
      const socket = await rawSocket(t);
      const pusher = publisherOf(t);
      for (let round = 0; round < 20; round += 1) {
        const channel = unique('fresh');
        await socket.subscribe(channel);
        await pusher.trigger(channel, 'first', round);
        await socket.event('first', (frame) => frame.channel === channel);
      }
    });

    test('data may be a JSON string', async (t) => {
      const socket = await rawSocket(t);
      const channel = unique('encoded');
      socket.send({ event: 'pusher:subscribe', data: JSON.stringify({ channel }) });
      await socket.event(SUCCEEDED, (frame) => frame.channel === channel);
    });

    test('every allowed character, and 200 of them', async (t) => {
      const socket = await rawSocket(t);
      const pusher = publisherOf(t);
      for (const channel of [
        'AZaz09_-=@,.;',
        unique('c').padEnd(200, 'x'),
        'constructor',
        '__proto__',
        'my-private-room',
      ]) {
        await socket.subscribe(channel);
        await pusher.trigger(channel, 'hello', channel);
        await socket.event('hello', (frame) => frame.channel === channel && frame.data === channel);
      }
    });

    for (const channel of ['', 'a b', 'a/b', 'ä', 'a:b', 'a*', 'a>', '#other', 'x'.repeat(201)]) {
      test(`the name ${JSON.stringify(channel.slice(0, 20))} (${channel.length}) is refused`, async (t) => {
        const socket = await rawSocket(t);
        socket.send({ event: 'pusher:subscribe', data: { channel } });
        const { data } = await socket.event('pusher:subscription_error', (frame) => frame.channel === channel);
        assert.deepEqual([data.type, data.status], ['InvalidChannel', 400]);
        await socket.ping();
      });
    }

    test('a subscription without a channel is an error', async (t) => {
      const socket = await rawSocket(t);
      for (const data of [{}, { channel: 7 }, null, 'no JSON', []]) socket.send({ event: 'pusher:subscribe', data });
      await socket.happened.until((frames) => refusals(frames).length >= 5, '5 errors');
      await socket.ping();
    });

    test('§18.6 a second subscription is an error and changes nothing', async (t) => {
      const socket = await rawSocket(t);
      const channel = unique('double');
      await socket.subscribe(channel);
      socket.send({ event: 'pusher:subscribe', data: { channel } });
      const { data } = await socket.event('pusher:error');
      assert.equal(data.code, null);
      assert.match(data.message, new RegExp(channel));
      await publisherOf(t).trigger(channel, 'event', 1);
      await publisherOf(t).trigger(channel, 'last', 2);
      await socket.event('last');
      assert.equal(socket.all('event').length, 1);
      assert.equal(socket.all(SUCCEEDED).length, 1);
    });

    test('after unsubscribing nothing arrives, after subscribing again everything', async (t) => {
      const [socket, witness] = await Promise.all([rawSocket(t), rawSocket(t)]);
      const pusher = publisherOf(t);
      const channel = unique('left');
      await Promise.all([socket, witness].map((each) => each.subscribe(channel)));
      socket.send({ event: 'pusher:unsubscribe', data: { channel } });
      await socket.ping();
      await pusher.trigger(channel, 'while-away', 1);
      await witness.event('while-away');
      socket.send({ event: 'pusher:subscribe', data: { channel } });
      await socket.events(SUCCEEDED, 2);
      await pusher.trigger(channel, 'back', 2);
      await socket.event('back');
      const received = socket.frames.filter((frame) => frame.channel === channel).map(({ event }) => event);
      assert.deepEqual(received, [SUCCEEDED, SUCCEEDED, 'back']);
    });

    test('pusher-js leaves a channel and comes back', async (t) => {
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, apps.main);
      const { name } = await subscriber.subscribe(unique('left'));
      subscriber.pusher.unsubscribe(name);
      const again = await subscriber.subscribe(name);
      await publisherOf(t).trigger(name, 'back', 1);
      await again.event('back');
      assert.deepEqual(again.events.items, [{ event: 'back', data: 1 }]);
    });

    test('§18.5 unsubscribing and subscribing at once ends subscribed', async (t) => {
      const socket = await rawSocket(t);
      const channel = unique('flip');
      await socket.subscribe(channel);
      for (let round = 0; round < 10; round += 1) {
        socket.send({ event: 'pusher:unsubscribe', data: { channel } });
        socket.send({ event: 'pusher:subscribe', data: { channel } });
      }
      await socket.events(SUCCEEDED, 11);
      await publisherOf(t).trigger(channel, 'event', 1);
      await publisherOf(t).trigger(channel, 'last', 2);
      await socket.event('last');
      assert.equal(socket.all('event').length, 1);
      assert.equal(socket.all('pusher:error').length, 0);
    });

    test('§18.4 pusher-js cancels a subscription that is still pending', async (t) => {
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, apps.main);
      const channel = unique('cancelled');
      subscriber.join(channel);
      subscriber.pusher.unsubscribe(channel);
      await subscriber.subscribe(unique('barrier'));
      const again = await subscriber.subscribe(channel);
      await publisherOf(t).trigger(channel, 'event', 1);
      await again.event('event');
      assert.deepEqual(subscriber.errors.items, []);
    });

    test('unsubscribing from what one is not subscribed to is ignored', async (t) => {
      const socket = await rawSocket(t);
      socket.send({ event: 'pusher:unsubscribe', data: { channel: unique('never') } });
      socket.send({ event: 'pusher:unsubscribe', data: { channel: 'not a name' } });
      await socket.ping();
      assert.deepEqual(
        socket.frames.map(({ event }) => event),
        ['pusher:connection_established', 'pusher:pong'],
      );
    });
  });
}

const refusals = (frames) =>
  frames.filter(({ event }) => event === 'pusher:error' || event === 'pusher:subscription_error');
