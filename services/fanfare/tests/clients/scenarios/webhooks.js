// What an application is told by webhook, when, and in which form.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { channelAuth, identifiedAs } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { pythonLibrary } from '../harness/python.js';
import { RawSocket } from '../harness/raw_socket.js';
import { userChannel } from '../harness/received.js';
import { Subscriber } from '../harness/subscriber.js';
import { PATIENCE_MS, inTime } from '../harness/wait.js';

/** How long a departure is held back, and as much time as a wait may take. */
const DELAY_MS = 3_000;
const LATE_MS = DELAY_MS + PATIENCE_MS;
/** Who is back so soon is known to be by the end of the delay: nodes tell each other twice a second. */
const BACK_MS = 2_000;

export function webhooks(route) {
  const target = (path) => route.receivers.steady.at(path);
  const everything = () => target('/everything');
  const edges = () => [route.subscribeEdge, route.publishEdge];

  const connect = (t, { edge = route.subscribeEdge, app = apps.telling } = {}) => RawSocket.connect(t, edge, app);

  async function subscriber(t, channel, options = {}) {
    const { app = apps.telling } = options;
    const socket = await connect(t, options);
    const auth = channel.startsWith('private-') ? channelAuth(app, await socket.socketId(), channel) : '';
    await socket.subscribe(channel, auth);
    return socket;
  }

  async function member(t, channel, id, options = {}) {
    const socket = await connect(t, options);
    await socket.join(options.app ?? apps.telling, channel, { user_id: id });
    return socket;
  }

  /** Leaves with a close frame. */
  async function leave(...sockets) {
    for (const { ws } of sockets) ws.close();
    await Promise.all(sockets.map((socket) => socket.closed()));
  }

  const unsubscribe = (socket, channel) => socket.send({ event: 'pusher:unsubscribe', data: { channel } });

  /** Names of all that was told of a channel, in order. */
  const namesOf = (channel, path = '/everything') =>
    target(path)
      .all({ channel })
      .map(({ name }) => name);

  /** Lets a channel become vacant after everything before: whatever was to be told of departures has been told then. */
  async function settled(t) {
    const channel = unique('barrier');
    const socket = await subscriber(t, channel);
    await everything().event({ name: 'channel_occupied', channel });
    await leave(socket);
    await everything().event({ name: 'channel_vacated', channel }, LATE_MS);
  }

  describe('webhooks', () => {
    test('§13 §18.16 channel_occupied by the first in the cluster, channel_vacated by the last', async (t) => {
      const channel = unique('open');
      const sockets = [];
      for (const edge of edges()) sockets.push(await subscriber(t, channel, { edge }));
      await everything().event({ name: 'channel_occupied', channel });
      await leave(sockets[0]);
      await settled(t);
      assert.deepEqual(existence(namesOf(channel)), ['channel_occupied'], 'the other edge has one still');
      await leave(sockets[1]);
      await everything().event({ name: 'channel_vacated', channel }, LATE_MS);
      await settled(t);
      assert.deepEqual(existence(namesOf(channel)), ['channel_occupied', 'channel_vacated']);
    });

    test('§18.19 a channel that is occupied again in time was never vacant', async (t) => {
      const { channel } = await inTime(BACK_MS, 'coming back', async () => {
        const channel = unique('open');
        const first = await subscriber(t, channel);
        await everything().event({ name: 'channel_occupied', channel });
        const begun = performance.now();
        await leave(first);
        const [, other] = edges();
        await subscriber(t, channel, { edge: other });
        return { tookMs: performance.now() - begun, channel };
      });
      await settled(t);
      assert.deepEqual(existence(namesOf(channel)), ['channel_occupied']);
    });

    test('§13 member_added by the first connection of a user, member_removed by the last', async (t) => {
      const channel = unique('presence-room');
      await member(t, channel, 'ann');
      const tabs = [];
      for (const edge of edges()) tabs.push(await member(t, channel, 'bob', { edge }));
      await everything().event({ name: 'member_added', channel, user_id: 'bob' });
      await leave(tabs[0]);
      await settled(t);
      assert.deepEqual(
        everything()
          .all({ channel, user_id: 'bob' })
          .map(({ name }) => name),
        ['member_added'],
      );
      unsubscribe(tabs[1], channel);
      await everything().event({ name: 'member_removed', channel, user_id: 'bob' }, LATE_MS);
      await settled(t);
      assert.deepEqual(namesOf(channel).sort(), ['channel_occupied', 'member_added', 'member_added', 'member_removed']);
    });

    test('user ids are strings', async (t) => {
      const channel = unique('presence-room');
      const socket = await connect(t);
      await socket.join(apps.telling, channel, '{"user_id":10}');
      await everything().event({ name: 'member_added', channel, user_id: '10' });
    });

    test('§18.19 a user who is back in time was never away, after a clean end and after a cut', async (t) => {
      const { channel } = await inTime(BACK_MS, 'coming back', async () => {
        const channel = unique('presence-room');
        await member(t, channel, 'ann');
        const clean = await member(t, channel, 'clean');
        const door = await FrontDoor.open(t, route.subscribeEdge);
        const options = await identifiedAs(t, apps.telling, { member: { user_id: 'cut' } });
        const reconnecting = await Subscriber.connect(t, door, apps.telling, options);
        const { notices } = await reconnecting.subscribe(channel);
        for (const id of ['clean', 'cut']) await everything().event({ name: 'member_added', channel, user_id: id });
        const begun = performance.now();
        await leave(clean);
        const [, other] = edges();
        await member(t, channel, 'clean', { edge: other });
        door.cut();
        const joined = (items) => items.filter(({ event }) => event === 'pusher:subscription_succeeded');
        await notices.until((items) => joined(items).length === 2, 'the one who was cut off to be back');
        return { tookMs: performance.now() - begun, channel };
      });
      await settled(t);
      for (const id of ['clean', 'cut']) {
        assert.deepEqual(
          everything()
            .all({ channel, user_id: id })
            .map(({ name }) => name),
          ['member_added'],
          id,
        );
      }
    });

    test('§18.18 a connection that dies without a close frame is told of, too', async (t) => {
      const channel = unique('presence-room');
      const socket = await member(t, channel, 'ann');
      socket.ws.terminate();
      await everything().event({ name: 'member_removed', channel, user_id: 'ann' }, 2 * LATE_MS);
      await everything().event({ name: 'channel_vacated', channel }, 2 * LATE_MS);
    });

    test('§18.31 client_event: data is a string, and user_id only where there are members', async (t) => {
      const [plain, room] = [unique('private-chat'), unique('presence-room')];
      const sender = await subscriber(t, plain);
      await sender.join(apps.telling, room, { user_id: 'ann' });
      const socketId = await sender.socketId();
      const texts = { object: '{ "a" : 1.0 }', string: '"text"', number: '7', nothing: 'null' };
      for (const [what, text] of Object.entries(texts)) {
        for (const channel of [plain, room]) {
          sender.send(`{"event":"client-${what}","channel":"${channel}","data":${text}}`);
        }
      }
      for (const channel of [plain, room]) {
        await everything().eventCount({ name: 'client_event', channel }, 4);
        for (const what of Object.keys(texts)) {
          const { data, ...event } = await everything().event({
            name: 'client_event',
            channel,
            event: `client-${what}`,
          });
          assert.equal(typeof data, 'string', what);
          assert.equal(event.socket_id, socketId);
          assert.equal(event.user_id, channel === room ? 'ann' : undefined);
          if (what === 'object') assert.deepEqual(JSON.parse(data), { a: 1 });
          if (what === 'string') assert.equal(data, 'text');
        }
      }
    });

    test('§13 refused client events and published ones make none', async (t) => {
      const channel = unique('private-chat');
      const sender = await subscriber(t, channel);
      sender.send({ event: 'pusher:forged', channel, data: 1 });
      sender.send({ event: 'client-large', channel, data: 'x'.repeat(10_241) });
      await publisher(t, route.publishEdge, apps.telling).trigger(channel, 'client-published', 1);
      sender.send({ event: 'client-last', channel, data: 1 });
      await everything().event({ name: 'client_event', channel, event: 'client-last' });
      assert.equal(everything().all({ name: 'client_event', channel }).length, 1);
    });

    test('§13 cache_miss, and none on a hit', async (t) => {
      const channel = unique('cache-rates');
      await subscriber(t, channel);
      await everything().event({ name: 'cache_miss', channel });
      await publisher(t, route.publishEdge, apps.telling).trigger(channel, 'rate', 1);
      await (await subscriber(t, channel)).event('rate');
      await settled(t);
      assert.equal(everything().all({ name: 'cache_miss', channel }).length, 1);
    });

    test('§13 subscription_count tells each new number, but none of presence channels', async (t) => {
      const [channel, room] = [unique('open'), unique('presence-room')];
      await member(t, room, 'ann');
      const sockets = [];
      for (const edge of edges()) sockets.push(await subscriber(t, channel, { edge }));
      const counts = () => everything().all({ name: 'subscription_count', channel });
      const isLast = (count) =>
        everything().events.until(() => counts().at(-1)?.subscription_count === count, String(count));
      await isLast(2);
      await leave(sockets[0]);
      await isLast(1);
      assert.deepEqual(everything().all({ name: 'subscription_count', channel: room }), []);
    });

    test('§8 channels of users are nobody’s business', async (t) => {
      const id = unique('user');
      const socket = await connect(t);
      await socket.signIn(apps.telling, { id });
      await socket.subscribe(userChannel(id));
      await leave(socket);
      await settled(t);
      assert.deepEqual(namesOf(userChannel(id)), []);
    });

    test('the order of a channel is kept', async (t) => {
      const channel = unique('presence-room');
      // By their names they would come the other way round.
      const ids = Array.from({ length: 21 }, (_, number) => String(50 - number));
      // Connected before, so that they join faster than each can be told of.
      const sockets = await Promise.all(ids.map(() => connect(t)));
      for (const [number, id] of ids.entries()) await sockets[number].join(apps.telling, channel, { user_id: id });
      const added = await everything().eventCount({ name: 'member_added', channel }, ids.length);
      assert.deepEqual(
        added.map(({ user_id: id }) => id),
        ids,
      );
    });
  });

  describe('the form of webhooks', () => {
    /** A request that tells of one event. */
    async function anyRequest(t) {
      const channel = unique('presence-room');
      await member(t, channel, 'Zoë 🚀');
      return (await everything().event({ name: 'member_added', channel })).request;
    }

    test('§18.28 the checker of the node library accepts them, and nothing that was tampered with', async (t) => {
      const { headers, body } = await anyRequest(t);
      const pusher = publisher(t, route.publishEdge, apps.telling);
      const webhook = pusher.webhook({ headers, rawBody: body });
      assert.equal(webhook.isValid(), true);
      assert.ok(Math.abs(webhook.getTime() - Date.now()) < 60_000, String(webhook.getTime()));
      assert.equal(pusher.webhook({ headers, rawBody: body.replace('member', 'Member') }).isValid(), false);
      assert.equal(headers['content-type'], 'application/json');
    });

    test('the checker of the Python library accepts them', async (t) => {
      const { headers, body } = await anyRequest(t);
      const library = pythonLibrary(t, route.publishEdge, apps.telling);
      const proof = [headers['x-pusher-key'], headers['x-pusher-signature']];
      assert.deepEqual(await library.call('validate_webhook', ...proof, body), JSON.parse(body));
      assert.equal(await library.call('validate_webhook', ...proof, `${body} `), null);
    });

    test('§18.29 the case of header names is kept, Pusher’s and the app’s own', async (t) => {
      const { method, headers, rawHeaders, time } = await anyRequest(t);
      assert.equal(method, 'POST');
      for (const name of ['Content-Type', 'X-Pusher-Key', 'X-Pusher-Signature', 'X-Token']) {
        assert.ok(rawHeaders.includes(name), `${name} in ${rawHeaders}`);
      }
      assert.equal(headers['x-pusher-key'], apps.telling.key);
      assert.match(headers['x-pusher-signature'], /^[0-9a-f]{64}$/);
      assert.equal(headers['x-token'], 'let-me-in');
      assert.ok(Number.isInteger(time), `time_ms ${time}`);
    });

    test('without batching each request tells one event', async (t) => {
      const channel = unique('presence-room');
      await Promise.all(['a', 'b', 'c', 'd'].map((id) => member(t, channel, id)));
      const events = await everything().eventCount({ name: 'member_added', channel }, 4);
      assert.ok(events.every(({ request }) => request.events.length === 1));
    });
  });

  describe('what a receiver asked for', () => {
    const app = apps.choosy;

    test('§18.17 only the kinds of events it named, only the channels of its prefix', async (t) => {
      const [room, open] = [unique('presence-room'), unique('open')];
      const sockets = [await member(t, room, 'ann', { app }), await subscriber(t, open, { app })];
      for (const channel of [room, open]) await target('/occupied').event({ name: 'channel_occupied', channel });
      await leave(...sockets);
      for (const name of ['member_removed', 'channel_vacated']) {
        await target('/presence').event({ name, channel: room }, LATE_MS);
      }
      const last = unique('presence-last');
      await member(t, last, 'ann', { app });
      await target('/presence').event({ name: 'channel_occupied', channel: last });
      await target('/occupied').event({ name: 'channel_occupied', channel: last });
      assert.deepEqual(namesOf(open, '/presence'), []);
      assert.deepEqual(namesOf(open, '/occupied'), ['channel_occupied']);
      assert.deepEqual(namesOf(room, '/occupied'), ['channel_occupied']);
      const told = namesOf(room, '/presence');
      assert.deepEqual(told.sort(), ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed']);
    });

    test('batches hold several events in order, signed as a whole, and only what was asked for', async (t) => {
      const rooms = Array.from({ length: 5 }, () => unique('private-batch'));
      const socket = await connect(t, { app });
      for (const channel of rooms) {
        await socket.subscribe(channel, channelAuth(app, await socket.socketId(), channel));
        await target('/batched').event({ name: 'channel_occupied', channel });
      }
      for (const event of ['client-one', 'client-two']) {
        for (const channel of rooms) socket.send({ event, channel, data: 1 });
      }
      for (const channel of rooms) await target('/batched').eventCount({ name: 'client_event', channel }, 2);
      const requests = new Set(
        rooms.flatMap((channel) => target('/batched').attempts({ name: 'client_event', channel })),
      );
      assert.ok(requests.size < 2 * rooms.length, `${requests.size} requests for ${2 * rooms.length} events`);
      const pusher = publisher(t, route.publishEdge, app);
      for (const { headers, body, events } of requests) {
        assert.equal(pusher.webhook({ headers, rawBody: body }).isValid(), true);
        for (const { name } of events) assert.ok(['channel_occupied', 'client_event'].includes(name), name);
      }
      for (const channel of rooms) {
        const told = target('/batched').all({ channel });
        assert.deepEqual(
          told.map(({ name, event }) => event ?? name),
          ['channel_occupied', 'client-one', 'client-two'],
        );
      }
    });
  });
}

/** Without the counts, of which there may be any number. */
const existence = (names) => names.filter((name) => name !== 'subscription_count');
