// One channel, whatever is spoken: each of four publishers reaches each of four subscribers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventReader } from '../../harness/ably/event_stream.js';
import { FORMATS } from '../../harness/ably/ways.js';
import { apps } from '../../harness/apps.js';
import { identifiedAs } from '../../harness/auth_endpoint.js';
import { unique } from '../../harness/names.js';
import { publisher } from '../../harness/publisher.js';
import { signedGet } from '../../harness/signed_request.js';
import { Subscriber } from '../../harness/subscriber.js';

const APP = apps.ably;
const TEST_MS = 300_000;

const TEXT = 'Zoë 🚀\n"quoted" \\ \u2028';
const OBJECT = { a: [1, 2.5, null, true], ü: { b: 'x' } };
const BYTES = Buffer.from([0, 255, 65]);

const identified = (t, identity) => identifiedAs(t, APP, identity);

/** What a subscriber of each kind got, in one form: name, data as it is handed to the application, who sent it. */
const SUBSCRIBERS = {
  'pusher-js': async (t, way, channel) => {
    const subscriber = await Subscriber.connect(
      t,
      await way.door(t),
      APP,
      await identified(t, { member: { user_id: 'listener' } }),
    );
    const subscription = await subscriber.subscribe(channel);
    return {
      count: (count) => subscription.events.count(count, `${count} events by pusher-js`),
      got: () => subscription.events.items.map(({ event, data }) => [event, data]),
    };
  },
  'ably-js, JSON': (t, way, channel) => ablySubscriber(t, way, channel, FORMATS.JSON),
  'ably-js, MessagePack': (t, way, channel) => ablySubscriber(t, way, channel, FORMATS.MessagePack),
  EventSource: async (t, way, channel) => {
    const reader = await EventReader.open(t, await way.door(t), APP, channel);
    return {
      count: (count) => reader.messages.count(count, `${count} events by EventSource`),
      got: () => reader.messages.items.map(({ message: { name, data, encoding } }) => [name, decoded(data, encoding)]),
    };
  },
};

async function ablySubscriber(t, way, channel, format) {
  const client = await way.connect(t, APP, format);
  const subscription = await client.subscribe(channel);
  return {
    count: (count) => subscription.messages.count(count, `${count} messages by ably-js`),
    got: () =>
      subscription.messages.items.map(({ name, data }) => [
        name,
        data instanceof ArrayBuffer || Buffer.isBuffer(data) ? Buffer.from(data) : data,
      ]),
    messages: subscription.messages,
  };
}

const decoded = (data, encoding) => {
  if (encoding === 'json') return JSON.parse(data);
  return encoding === 'base64' ? Buffer.from(data, 'base64') : data;
};

/** What each publishes under the names given, and what it means to those who speak Ably, and to pusher-js. */
const PUBLISHERS = {
  'pusher HTTP': async (t, way, channel) => {
    const pusher = publisher(t, await way.door(t), APP);
    return {
      publish: async (name) => {
        await pusher.trigger(channel, `${name}-text`, TEXT);
        await pusher.trigger(channel, `${name}-object`, OBJECT);
      },
      // To Pusher all data is text, and pusher-js parses what looks like JSON.
      ably: (name) => [
        [`${name}-text`, TEXT],
        [`${name}-object`, JSON.stringify(OBJECT)],
      ],
      pusher: (name) => [
        [`${name}-text`, TEXT],
        [`${name}-object`, OBJECT],
      ],
      isStored: true,
    };
  },
  'Pusher client event': async (t, way, channel) => {
    const client = await Subscriber.connect(
      t,
      await way.door(t),
      APP,
      await identified(t, { member: { user_id: 'speaker' } }),
    );
    const subscription = await client.subscribe(channel);
    const events = (name) => [
      [`client-${name}-text`, TEXT],
      [`client-${name}-object`, OBJECT],
    ];
    return {
      publish: async (name) => events(name).forEach(([event, data]) => subscription.trigger(event, data)),
      ably: events,
      pusher: events,
      isStored: false,
    };
  },
  'Ably REST': async (t, way, channel) => ablyPublisher((await way.rest(t, APP)).channels.get(channel)),
  'Ably realtime': async (t, way, channel) =>
    ablyPublisher((await way.connect(t, APP, { clientId: 'speaker' })).channel(channel).channel),
};

function ablyPublisher(channel) {
  return {
    publish: async (name) => {
      await channel.publish(`${name}-text`, TEXT);
      await channel.publish([
        { name: `${name}-object`, data: OBJECT },
        { name: `${name}-bytes`, data: BYTES },
      ]);
    },
    ably: (name) => [
      [`${name}-text`, TEXT],
      [`${name}-object`, OBJECT],
      [`${name}-bytes`, BYTES],
    ],
    pusher: (name) => [
      [`${name}-text`, TEXT],
      [`${name}-object`, OBJECT],
      [`${name}-bytes`, BYTES.toString('base64')],
    ],
    isStored: true,
  };
}

export function acrossProtocols(way) {
  const audience = async (t, channel) => {
    const all = Object.entries(SUBSCRIBERS).map(async ([kind, open]) => [kind, await open(t, way, channel)]);
    return Object.fromEntries(await Promise.all(all));
  };
  const expected = (publisher, kind, name) => (kind === 'pusher-js' ? publisher.pusher(name) : publisher.ably(name));

  describe('across protocols', () => {
    for (const [title, open] of Object.entries(PUBLISHERS)) {
      test(`${title} reaches ${Object.keys(SUBSCRIBERS).join(', ')}`, { timeout: TEST_MS }, async (t) => {
        const channel = unique('private-matrix');
        const subscribers = await audience(t, channel);
        const from = await open(t, way, channel);
        await from.publish('one');
        const { length } = from.ably('one');
        for (const [kind, subscriber] of Object.entries(subscribers)) {
          await subscriber.count(length);
          assert.deepEqual(subscriber.got(), expected(from, kind, 'one'), kind);
        }
        const { items } = await (await way.rest(t, APP)).channels.get(channel).history({ direction: 'forwards' });
        const names = from.isStored ? from.ably('one').map(([name]) => name) : [];
        assert.deepEqual(
          items.map(({ name }) => name),
          names,
          'in the history of Ably',
        );
        const events = (await signedGet(way.site.edges[0], APP, `/channels/${channel}/events`)).json().events;
        assert.deepEqual(
          events.map(({ name }) => name),
          names,
          'in the history of Pusher',
        );
      });
    }

    test('everybody at once: one order for all, and it is that of history', { timeout: TEST_MS }, async (t) => {
      const channel = unique('private-order');
      const subscribers = await audience(t, channel);
      const stored = Object.entries(PUBLISHERS).filter(([title]) => title !== 'Pusher client event');
      const publishers = await Promise.all(stored.map(([, open]) => open(t, way, channel)));
      await Promise.all(
        publishers.map(async (from, source) => {
          for (let round = 0; round < 5; round += 1) await from.publish(`${source}-${round}`);
        }),
      );
      const total = publishers.reduce((sum, from) => sum + 5 * from.ably('').length, 0);
      const orders = [];
      for (const subscriber of Object.values(subscribers)) {
        await subscriber.count(total);
        orders.push(subscriber.got().map(([name]) => name));
      }
      const rest = (await way.rest(t, APP)).channels.get(channel);
      const history = (await rest.history({ direction: 'forwards', limit: 1000 })).items.map(({ name }) => name);
      for (const order of orders) assert.deepEqual(order, history);
    });

    test('who says so', async (t) => {
      const channel = unique('presence-identity');
      const { 'ably-js, JSON': ably } = await audience(t, channel);
      for (const open of Object.values(PUBLISHERS)) await (await open(t, way, channel)).publish('x');
      const find = (name) => ably.messages.find((message) => message.name === name, name);
      assert.equal((await find('client-x-text')).clientId, 'speaker');
      const realtime = await ably.messages.until(
        (items) => items.find(({ name, connectionId }) => name === 'x-text' && connectionId),
        'the message of a connection',
      );
      assert.equal(realtime.clientId, 'speaker');
      const [, ...others] = ably.messages.items.filter(({ name }) => name === 'x-text');
      assert.ok(others.length >= 1);
    });

    test('one position counts for all: what Pusher missed, Ably resumes, and the other way round', async (t) => {
      const channel = unique('private-positions');
      const pusher = publisher(t, await way.door(t), APP);
      const client = await way.connect(t, APP);
      const subscription = await client.subscribe(channel);
      await pusher.trigger(channel, 'number', '0');
      await subscription.received(1);
      client.door.cut();
      for (const number of [1, 2]) await pusher.trigger(channel, 'number', `${number}`);
      await client.became('connected', 2);
      assert.deepEqual((await subscription.received(3)).map(Number), [0, 1, 2]);
      await subscription.channel.publish('number', '3');
      const { channelSerial } = subscription.channel.properties;
      await subscription.channel.publish('number', '4');
      const query = { after: channelSerial };
      const answer = await signedGet(way.site.edges[0], APP, `/channels/${channel}/events`, { query });
      assert.ok(answer.json().events.length >= 1, answer.text);
      assert.equal(answer.json().events.at(-1).data, '4');
    });
  });

  describe('presence across protocols', () => {
    test('members of both kinds are one set', { timeout: TEST_MS }, async (t) => {
      const name = unique('presence-shared');
      const ann = await Subscriber.connect(
        t,
        await way.door(t),
        APP,
        await identified(t, { member: { user_id: 'ann', user_info: { name: 'Ann' } } }),
      );
      const room = await ann.subscribe(name);
      const watcher = await (await way.connect(t, APP)).channel(name).watch();
      await watcher.knows({ ann: { name: 'Ann' } });
      const bob = await way.connect(t, APP, { clientId: 'bob' });
      await bob.channel(name).channel.presence.enter({ name: 'Bob' });
      const added = await room.added('bob');
      assert.deepEqual(added.info, { name: 'Bob' });
      await room.knows({ ann: { name: 'Ann' }, bob: { name: 'Bob' } });
      await watcher.knows({ ann: { name: 'Ann' }, bob: { name: 'Bob' } });
      const users = (await signedGet(way.site.edges[0], APP, `/channels/${name}/users`)).json().users;
      assert.deepEqual(users.map(({ id }) => id).sort(), ['ann', 'bob']);
      const rest = (await way.rest(t, APP)).channels.get(name).presence;
      assert.deepEqual((await rest.get()).items.map(({ clientId }) => clientId).sort(), ['ann', 'bob']);
      ann.disconnect();
      await watcher.event('leave', 'ann');
      const carl = await Subscriber.connect(
        t,
        await way.door(t),
        APP,
        await identified(t, { member: { user_id: 'carl' } }),
      );
      const other = await carl.subscribe(name);
      await other.knows({ bob: { name: 'Bob' }, carl: null });
      await bob.close();
      await other.removed('bob');
    });
  });
}
