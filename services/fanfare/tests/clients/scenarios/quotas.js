// What an app meets that has used up a quota, and how it goes on.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { ARCHIVE_BYTES, RATED_PER_SECOND, WEBHOOKS_PER_SECOND, apps } from '../harness/apps.js';
import { authEndpoint, authorizedBy } from '../harness/auth_endpoint.js';
import { request } from '../harness/http.js';
import { unique } from '../harness/names.js';
import { publisher, refusal } from '../harness/publisher.js';
import { RawSocket, clientPath } from '../harness/raw_socket.js';
import { signedPost } from '../harness/signed_request.js';
import { Subscriber, fallbackOptions } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

/** What a request or an event may go to at most: far beyond a small rate, so that what comes next is surely refused. */
const MOST_CHANNELS = 100;

/** `quota NAME exceeded, retry in N s`. */
const TEXT = /^quota (\w+) exceeded, retry in (\d+(?:\.\d)?) s$/;

function assertText(text, quota) {
  const [, name, seconds] = TEXT.exec(text) ?? assert.fail(`not the text of a quota: ${text}`);
  assert.equal(name, quota);
  return Number(seconds);
}

/** Waits so long by the finest clock; timers may ring a moment early. */
async function waitOut(ms) {
  const end = performance.now() + ms;
  while (performance.now() < end) await sleep(end - performance.now());
}

export function quotas(route) {
  const edge = () => route.publishEdge;
  const connect = async (t, app) => Subscriber.connect(t, edge(), app, authorizedBy(await authEndpoint(t, app)));

  /** How often the node has refused something for a quota. */
  async function rejected(quota) {
    const { text } = await request({ port: edge().ports.admin, path: '/metrics' });
    const line = text.split('\n').find((each) => each.startsWith(`fanfare_quota_rejected_total{quota="${quota}"}`));
    return line ? Number(line.split(' ').at(-1)) : 0;
  }

  /** A request that the library sees refused: what its body says. */
  async function refused(promise, quota) {
    const { status, body } = await refusal(promise);
    assert.equal(status, 429, body);
    const { error, quota: name, retry_after_ms: ms, ...rest } = JSON.parse(body);
    assert.deepEqual([name, rest], [quota, {}]);
    assert.ok(Math.abs(assertText(error, quota) * 1_000 - ms) <= 1_000, `${error} and ${ms} ms`);
    return ms;
  }

  describe('quotas', () => {
    test('messages_in: 429 with a time, after which the same passes; nothing of it is sent before', async (t) => {
      const before = await rejected('messages_in');
      const subscription = await (await connect(t, apps.rated)).subscribe(unique('ticker'));
      const server = publisher(t, edge(), apps.rated);
      const channels = [subscription.name, ...Array.from({ length: MOST_CHANNELS - 1 }, (_, n) => `c${n}`)];
      const begun = performance.now();
      await server.trigger(channels, 'event', 1);
      const ms = await refused(server.trigger(channels, 'event', 2), 'messages_in');
      const passed = performance.now() - begun;
      // What was beyond the rate is owed, and then a second's worth has to be there.
      const whole = (MOST_CHANNELS / RATED_PER_SECOND) * 1_000;
      assert.ok(ms > whole - passed - 1 && ms <= whole, `${ms} ms until a second's worth is there`);
      const again = await signedPost(edge(), apps.rated, '/events', { name: 'event', channels, data: '2' });
      const { retry_after_ms: left } = again.json();
      assert.deepEqual([again.status, again.headers['retry-after']], [429, `${Math.ceil(left / 1_000)}`]);
      await waitOut(left);
      await server.trigger(channels, 'event', 3);
      await subscription.events.until(() => subscription.dataOf('event').includes(3), 'the third');
      assert.deepEqual(subscription.dataOf('event'), [1, 3]);
      assert.equal((await rejected('messages_in')) - before, 2);
    });

    test('messages_in: a client event is told by pusher:error 4301, and the next one passes', async (t) => {
      const channel = unique('private-chat');
      const [ann, bob] = await Promise.all([connect(t, apps.whispered), connect(t, apps.whispered)]);
      const [speaking, hearing] = await Promise.all([ann.subscribe(channel), bob.subscribe(channel)]);
      speaking.trigger('client-said', 1);
      await hearing.event('client-said');
      const server = publisher(t, edge(), apps.whispered);
      const elsewhere = Array.from({ length: 10 }, (_, n) => `c${n}`);
      await eventually(() => server.trigger(elsewhere, 'event', 1), 'ten messages at once to pass');
      speaking.trigger('client-said', 2);
      const error = await ann.error(4301);
      const { message } = error.data ?? error.error.data;
      await waitOut(assertText(message, 'messages_in') * 1_000);
      speaking.trigger('client-said', 3);
      await hearing.events.until(() => hearing.dataOf('client-said').includes(3), 'the third');
      assert.deepEqual(hearing.dataOf('client-said'), [1, 3]);
      assert.equal(ann.state, 'connected');
    });

    test('messages_out: what was delivered beyond it holds back the next publish, not subscribers', async (t) => {
      const channel = unique('news');
      const subscribers = await Promise.all(
        Array.from({ length: 10 }, async () => (await connect(t, apps.loud)).subscribe(channel)),
      );
      const server = publisher(t, edge(), apps.loud);
      const accepted = [];
      /** Publishes a number to everybody; answers for how long that is refused, if it is. */
      async function publish(number) {
        const answer = server.trigger(channel, 'event', number);
        if ((await answer.catch(({ status }) => ({ status }))).status !== 200) return refused(answer, 'messages_out');
        accepted.push(number);
        const isThere = (subscription) =>
          subscription.events.until(() => subscription.dataOf('event').includes(number), `the number ${number}`);
        await Promise.all(subscribers.map(isThere));
        return 0;
      }
      // Who is slow enough may publish again at once.
      let number = 1;
      let ms = await publish(number);
      assert.equal(ms, 0);
      while (ms === 0 && number < 10) ms = await publish((number += 1));
      assert.ok(ms > 0, `${number} were not refused`);
      const passes = async () => {
        await waitOut(ms);
        ms = await publish(number + 1);
        return ms === 0;
      };
      await eventually(passes, 'what was delivered to be paid for');
      for (const subscription of subscribers) assert.deepEqual(subscription.dataOf('event'), accepted);
    });

    test('connections: 4004 with the quota in its reason stops pusher-js; then there is room again', async (t) => {
      const before = await rejected('connections');
      const first = await connect(t, apps.lonely);
      const second = new Subscriber(t, edge(), apps.lonely);
      await second.error(4004);
      await second.gaveUp();
      const raw = new RawSocket(t, edge(), clientPath(apps.lonely.key));
      const { closed, reason } = await raw.closed();
      assert.equal(closed, 4004);
      assertText(reason, 'connections');
      const fallback = new Subscriber(t, edge(), apps.lonely, fallbackOptions(edge(), ['xhr_streaming']));
      await fallback.gaveUp();
      assert.equal((await rejected('connections')) - before, 3);
      first.disconnect();
      const isIn = async () => {
        const attempt = new Subscriber(t, edge(), apps.lonely);
        const state = await attempt.states.find((each) => /^(dis)?connected$/.test(each), 'an answer');
        return state === 'connected';
      };
      await eventually(isIn, 'room for a connection');
    });

    test('channels: refused on the channel, which is subscribed when there is room', async (t) => {
      const before = await rejected('channels');
      const [first, other] = [unique('one'), unique('other')];
      const [ann, bob] = await Promise.all([connect(t, apps.fewChannels), connect(t, apps.fewChannels)]);
      await ann.subscribe(first);
      await bob.subscribe(first);
      const refusedOne = bob.join(other);
      const { data } = await refusedOne.notice('pusher:subscription_error');
      assert.deepEqual([data.type, data.status], ['LimitReached', 4004]);
      assertText(data.error, 'channels');
      assert.equal((await rejected('channels')) - before, 1);
      ann.unsubscribe(first);
      bob.unsubscribe(first);
      // pusher-js asks for a channel once in a connection, and for all that it wants in the next one.
      const isIn = async () => {
        const answers = () => refusedOne.notices.items;
        const { length } = answers();
        bob.disconnect();
        bob.pusher.connect();
        await refusedOne.notices.count(length + 1, 'an answer');
        return answers().at(-1).event === 'pusher:subscription_succeeded';
      };
      await eventually(isIn, 'room for another channel');
    });

    test('presence_members: refused like a full channel, in every channel', async (t) => {
      const connectAs = async (user) => {
        const socket = await RawSocket.connect(t, edge(), apps.fewMembers);
        return { socket, enter: (channel) => socket.beginJoin(apps.fewMembers, channel, { user_id: user }) };
      };
      const [ann, bob] = await Promise.all([connectAs('ann'), connectAs('bob')]);
      const [room, other] = [unique('presence-room'), unique('presence-other')];
      await ann.socket.join(apps.fewMembers, room, { user_id: 'ann' });
      await bob.enter(other);
      const { type, status, error } = await bob.socket.refusalOf(other);
      assert.deepEqual([type, status], ['LimitReached', 4004]);
      assertText(error, 'presence_members');
      ann.socket.ws.close();
      const isIn = async () => {
        const again = await connectAs('bob');
        await again.enter(other);
        const { event } = await again.socket.happened.find((frame) => frame.channel === other, 'an answer');
        return event === 'pusher_internal:subscription_succeeded';
      };
      await eventually(isIn, 'room for a member');
    });

    test('message_size: 413 with the quota’s name', async (t) => {
      const before = await rejected('message_size');
      const { status, body } = await refusal(
        publisher(t, edge(), apps.main).trigger('any', 'event', 'x'.repeat(10_241)),
      );
      assert.deepEqual([status, JSON.parse(body).quota], [413, 'message_size']);
      assert.equal((await rejected('message_size')) - before, 1);
    });

    test('history_bytes: what is stored for long is refused, everything else goes on', async (t) => {
      const server = publisher(t, edge(), apps.archive);
      const publish = (channel, bytes) =>
        signedPost(edge(), apps.archive, '/events', { name: 'e', channel, data: 'x'.repeat(bytes) });
      assert.equal((await publish('log-a', ARCHIVE_BYTES)).status, 200);
      await refused(server.trigger('log-b', 'event', 'x'), 'history_bytes');
      await refused(server.trigger(['log-b', 'room'], 'event', 'x'), 'history_bytes');
      await server.trigger('room', 'event', 'x'.repeat(1_000));
    });

    test('webhooks: what is over the rate comes later, and none is lost', async (t) => {
      const target = route.receivers.steady.at('/paced');
      const socket = await RawSocket.connect(t, edge(), apps.patientlyTelling);
      const count = 3 * WEBHOOKS_PER_SECOND;
      const channels = Array.from({ length: count }, (_, n) => unique(`c${n}`));
      const begun = performance.now();
      for (const channel of channels) await socket.subscribe(channel);
      const events = await target.eventCount({ name: 'channel_occupied' }, count);
      const took = performance.now() - begun;
      assert.deepEqual(events.map(({ channel }) => channel).sort(), channels.sort());
      // A second's worth comes at once.
      assert.ok(took >= ((count - WEBHOOKS_PER_SECOND) / WEBHOOKS_PER_SECOND) * 1_000 - 200, `${took} ms`);
    });
  });
}
