// Events sent by clients: to whom, by whom, and how many.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { authEndpoint, authorizedBy, channelAuth } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';
import { PATIENCE_MS, eventually } from '../harness/wait.js';

/** Documented: at most so many per second from one connection. */
const PER_SECOND = 10;
const EXCEEDED = 4301;

export function clientEvents(route) {
  async function connect(t, edge, app = apps.main) {
    return Subscriber.connect(t, edge, app, authorizedBy(await authEndpoint(t, app)));
  }

  /** A sender on one edge and a receiver on the other, both subscribed. */
  async function pair(t, channel, app = apps.main) {
    const [sender, receiver] = await Promise.all([
      connect(t, route.publishEdge, app),
      connect(t, route.subscribeEdge, app),
    ]);
    const [sending, receiving] = await Promise.all([sender.subscribe(channel), receiver.subscribe(channel)]);
    return { sender, sending, receiver, receiving };
  }

  /** Publishes a marker on the channel: when it arrives, whatever was relayed before has arrived too. */
  async function settled(t, subscription, app = apps.main) {
    await publisher(t, route.publishEdge, app).trigger(subscription.name, 'marker', 0);
    await subscription.event('marker');
  }

  async function rawSubscription(t, edge, channel) {
    const socket = await RawSocket.connect(t, edge, apps.main);
    await socket.subscribe(channel, channelAuth(apps.main, await socket.socketId(), channel));
    return socket;
  }

  describe('client events', () => {
    test('they reach the others on every edge, not the sender', async (t) => {
      const { sender, sending, receiving } = await pair(t, unique('private-chat'));
      const near = await (await connect(t, route.publishEdge)).subscribe(sending.name);
      sending.channel.trigger('client-typing', { who: 'ann' });
      assert.deepEqual((await receiving.event('client-typing')).data, { who: 'ann' });
      assert.deepEqual((await near.event('client-typing')).data, { who: 'ann' });
      receiving.channel.trigger('client-typing', { who: 'bob' });
      assert.deepEqual((await sending.event('client-typing')).data, { who: 'bob' });
      await Promise.all([sending, receiving].map((subscription) => settled(t, subscription)));
      assert.deepEqual(sending.dataOf('client-typing'), [{ who: 'bob' }]);
      assert.deepEqual(receiving.dataOf('client-typing'), [{ who: 'ann' }]);
      assert.deepEqual(sender.errors.items, []);
    });

    test('data passes to the character, without a user_id', async (t) => {
      const channel = unique('private-chat');
      const sender = await rawSubscription(t, route.publishEdge, channel);
      const receiver = await rawSubscription(t, route.subscribeEdge, channel);
      const texts = [
        '{ "huge" : 1e400, "a":[1, null ,"x"] }',
        '"{\\"already\\":\\"encoded\\"}"',
        '"plain"',
        'null',
        '7.50',
      ];
      for (const text of texts) {
        sender.send(`{"event":"client-data","channel":"${channel}","data":${text},"user_id":"forged"}`);
      }
      const frames = await receiver.events('client-data', texts.length);
      frames.forEach((frame, index) => {
        assert.ok(frame.text.includes(`"data":${texts[index]}`), `${frame.text} instead of ${texts[index]}`);
        assert.ok(!('user_id' in frame), frame.text);
      });
    });

    test('they keep their order', async (t) => {
      const { sending, receiving } = await pair(t, unique('private-chat'));
      for (let index = 0; index < PER_SECOND; index += 1) sending.channel.trigger('client-count', { index });
      await receiving.events.count(PER_SECOND);
      assert.deepEqual(
        receiving.dataOf('client-count').map(({ index }) => index),
        [...Array(PER_SECOND).keys()],
      );
    });

    test('refused on a public channel', async (t) => {
      const { sender, sending, receiving } = await pair(t, unique('public'));
      sending.channel.trigger('client-typing', {});
      await refused(sender);
      await settled(t, receiving);
      assert.deepEqual(receiving.dataOf('client-typing'), []);
    });

    test('refused where the app does not allow them', async (t) => {
      const { sender, sending, receiving } = await pair(t, unique('private-chat'), apps.noClientEvents);
      sending.channel.trigger('client-typing', {});
      await refused(sender);
      await settled(t, receiving, apps.noClientEvents);
      assert.deepEqual(receiving.dataOf('client-typing'), []);
    });

    test('refused without a subscription', async (t) => {
      const receiver = await connect(t, route.subscribeEdge);
      const receiving = await receiver.subscribe(unique('private-chat'));
      const stranger = await connect(t, route.publishEdge);
      stranger.pusher.send_event('client-typing', {}, receiving.name);
      await refused(stranger);
      await settled(t, receiving);
      assert.deepEqual(receiving.dataOf('client-typing'), []);
    });

    test('§18.12 reserved and ordinary names are never relayed', async (t) => {
      const { sender, receiving } = await pair(t, unique('private-chat'));
      const names = ['pusher:forged', 'pusher_internal:member_added', 'ordinary', 'Client-upper'];
      for (const name of names) sender.pusher.send_event(name, {}, receiving.name);
      await sender.errors.count(names.length);
      await settled(t, receiving);
      assert.deepEqual(
        receiving.events.items.map(({ event }) => event),
        ['marker'],
      );
      assert.deepEqual(
        receiving.notices.items.map(({ event }) => event),
        ['pusher:subscription_succeeded'],
      );
    });

    test('data over 10 KB and names over 200 characters are refused', async (t) => {
      const { sender, sending, receiving } = await pair(t, unique('private-chat'));
      sending.channel.trigger('client-large', 'x'.repeat(10_241));
      await sender.errors.count(1);
      sending.channel.trigger(`client-${'n'.repeat(194)}`, 1);
      await sender.errors.count(2);
      await settled(t, receiving);
      assert.deepEqual(
        receiving.events.items.map(({ event }) => event),
        ['marker'],
      );
      assert.equal(sender.state, 'connected');
    });

    test('more than 10 in a second are dropped with 4301, and the connection stays', async (t) => {
      const { sender, sending, receiving } = await pair(t, unique('private-chat'));
      const sent = 10 * PER_SECOND;
      const begun = performance.now();
      for (let index = 0; index < sent; index += 1) sending.channel.trigger('client-count', { index });
      await sender.error(EXCEEDED);
      const total = () => receiving.dataOf('client-count').length + sender.errors.items.length;
      await eventually(() => total() === sent, 'each one to be delivered or refused');
      const delivered = receiving.dataOf('client-count').map(({ index }) => index);
      const most = PER_SECOND * (1 + (performance.now() - begun) / 1_000);
      assert.ok(
        delivered.length >= PER_SECOND && delivered.length <= most,
        `${delivered.length} were delivered, of ${most} at most`,
      );
      assert.deepEqual(delivered.slice(0, PER_SECOND), [...Array(PER_SECOND).keys()]);
      assert.ok(sender.errors.items.every(({ data }) => data.code === EXCEEDED));

      let attempts = 0;
      await eventually(
        () => {
          sending.channel.trigger('client-again', { attempt: (attempts += 1) });
          return receiving.dataOf('client-again').length > 0;
        },
        'client events to be accepted again',
        PATIENCE_MS,
      );
      assert.deepEqual(sender.states.items, ['connected']);
    });
  });
}

/** Waits for the `pusher:error` that refuses a client event; the connection stays. */
async function refused(sender) {
  const [error] = await sender.errors.count(1, 'an error for the sender');
  assert.deepEqual([error.type, error.data.code], ['PusherError', null]);
  assert.equal(sender.state, 'connected');
}
