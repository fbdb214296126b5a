// Who is on a presence channel, as every member and onlooker learns it.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';
import { PATIENCE_MS, inTime } from '../harness/wait.js';

/** The grace after which a member whose connection was cut is gone, and as much time as a wait may take. */
const GRACE_MS = 3_000;
const GONE_MS = GRACE_MS + PATIENCE_MS;

const infoOf = (id) => ({ name: `the one called ${id}` });
const members = (...ids) => Object.fromEntries(ids.map((id) => [id, infoOf(id)]));

export function presence(route) {
  let here;
  let there;
  before(() => ([here, there] = [route.subscribeEdge, route.publishEdge]));

  /** A pusher-js of the user `id`, not yet on a channel. */
  async function client(t, address, id, info = infoOf(id)) {
    const options = await identifiedAs(t, apps.main, { member: { user_id: id, user_info: info } });
    return Subscriber.connect(t, address, apps.main, options);
  }

  /** The user `id` on the channel. */
  async function member(t, address, channel, id, info) {
    const subscriber = await client(t, address, id, info);
    return { subscriber, subscription: await subscriber.subscribe(channel) };
  }

  const raw = (t, address = here) => RawSocket.connect(t, address, apps.main);

  /** Lets somebody join whom `watchers` must hear of: whatever they were told before has arrived by then. */
  async function settled(t, channel, ...watchers) {
    const id = unique('barrier');
    const { subscriber } = await member(t, there, channel, id);
    await Promise.all(watchers.map((watcher) => watcher.added(id)));
    subscriber.disconnect();
    await Promise.all(watchers.map((watcher) => watcher.removed(id)));
  }

  const isBack = (subscription) =>
    subscription.notices.until(() => subscription.noticed('subscription_succeeded').length === 2, 'bob to be back');

  describe('presence', () => {
    test('§6 the snapshot holds everyone there, oneself included', async (t) => {
      const channel = unique('presence-room');
      await (await raw(t)).join(apps.main, channel, { user_id: 'ann', user_info: infoOf('ann') });
      const socket = await raw(t);
      const snapshot = await socket.join(apps.main, channel, { user_id: 'bob', user_info: infoOf('bob') });
      const ids = [...snapshot.ids].sort();
      assert.deepEqual({ ...snapshot, ids }, { ids: ['ann', 'bob'], hash: members('ann', 'bob'), count: 2 });
    });

    test('§18.15 members on all edges know each other, each told once', async (t) => {
      const channel = unique('presence-room');
      const ids = ['ann', 'bob', 'cid', 'dora'];
      const joined = [];
      for (const [index, id] of ids.entries()) {
        joined.push((await member(t, index % 2 === 0 ? here : there, channel, id)).subscription);
      }
      await Promise.all(joined.map((subscription) => subscription.knows(members(...ids))));
      await settled(t, channel, ...joined);
      joined.forEach((subscription, index) => {
        const [{ members: snapshot, me }] = subscription.noticed('subscription_succeeded');
        assert.deepEqual(me, { id: ids[index], info: infoOf(ids[index]) });
        for (const id of ids) {
          const times = subscription.toldOf(id).length + (Object.hasOwn(snapshot, id) ? 1 : 0);
          assert.equal(times, 1, `${ids[index]} was told of ${id} ${times} times`);
        }
      });
    });

    test('§18.9 member_added and member_removed are strings, once, and not for who causes them', async (t) => {
      const channel = unique('presence-room');
      const [watcher, comer, last] = [await raw(t), await raw(t, there), await raw(t)];
      await watcher.join(apps.main, channel, { user_id: 'ann' });
      await comer.join(apps.main, channel, { user_id: 'bob', user_info: infoOf('bob') });
      await watcher.event('pusher_internal:member_added');
      comer.send({ event: 'pusher:unsubscribe', data: { channel } });
      await watcher.event('pusher_internal:member_removed');
      await last.join(apps.main, channel, { user_id: 'cid' });
      await watcher.events('pusher_internal:member_added', 2);
      await comer.ping();
      const told = watcher.frames.filter(({ event }) => event.startsWith('pusher_internal:member_'));
      assert.ok(told.every((frame) => frame.channel === channel && typeof frame.data === 'string'));
      assert.deepEqual(
        told.slice(0, 2).map(({ event, data }) => [event, JSON.parse(data)]),
        [
          ['pusher_internal:member_added', { user_id: 'bob', user_info: infoOf('bob') }],
          ['pusher_internal:member_removed', { user_id: 'bob' }],
        ],
      );
      assert.deepEqual(
        comer.frames.filter(({ event }) => event.startsWith('pusher_internal:member_')),
        [],
      );
    });

    test('§18.14 two tabs of one user are one member, gone with the last', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, here, channel, 'ann');
      const first = await member(t, here, channel, 'bob');
      const second = await member(t, there, channel, 'bob');
      assert.equal((await second.subscription.present()).bob.name, infoOf('bob').name);
      first.subscriber.disconnect();
      await settled(t, channel, watcher, second.subscription);
      assert.deepEqual([watcher.toldOf('bob'), second.subscription.toldOf('bob')], [['added'], []]);
      second.subscriber.disconnect();
      assert.deepEqual(await watcher.removed('bob'), { id: 'bob', info: infoOf('bob') });
      await settled(t, channel, watcher);
      assert.deepEqual(watcher.toldOf('bob'), ['added', 'removed']);
    });

    test('ten connections of one user that join at once are one member', async (t) => {
      const channel = unique('presence-room');
      const watchers = [
        (await member(t, here, channel, 'ann')).subscription,
        (await member(t, there, channel, 'amy')).subscription,
      ];
      const sockets = await Promise.all(Array.from({ length: 10 }, (_, index) => raw(t, index % 2 ? here : there)));
      await Promise.all(sockets.map((socket) => socket.join(apps.main, channel, { user_id: 'bob' })));
      await Promise.all(watchers.map((watcher) => watcher.added('bob')));
      await settled(t, channel, ...watchers);
      for (const watcher of watchers) assert.deepEqual(watcher.toldOf('bob'), ['added']);
      for (const socket of sockets) socket.send({ event: 'pusher:unsubscribe', data: { channel } });
      await Promise.all(watchers.map((watcher) => watcher.removed('bob')));
      await settled(t, channel, ...watchers);
      for (const watcher of watchers) assert.deepEqual(watcher.toldOf('bob'), ['added', 'removed']);
    });

    test('one who comes and goes quickly is added and removed in turns', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, here, channel, 'ann');
      const sockets = [await raw(t, there), await raw(t, here)];
      for (let round = 0; round < 10; round += 1) {
        for (const socket of sockets) {
          await socket.beginJoin(apps.main, channel, { user_id: 'bob' });
          socket.send({ event: 'pusher:unsubscribe', data: { channel } });
        }
      }
      for (const socket of sockets) await socket.ping();
      await settled(t, channel, watcher);
      await watcher.knows(members('ann'));
      const told = watcher.toldOf('bob');
      told.forEach((what, index) => assert.equal(what, index % 2 === 0 ? 'added' : 'removed', told.join(' ')));
      assert.equal(told.length % 2, 0, told.join(' '));
    });

    test('§18.37 a user_id may be a number, and is a string for everybody', async (t) => {
      const channel = unique('presence-room');
      const watcher = await raw(t);
      await watcher.join(apps.main, channel, { user_id: 'ann' });
      const ten = await raw(t, there);
      const snapshot = await ten.join(apps.main, channel, '{"user_id":10}');
      assert.ok(snapshot.ids.includes('10') && Object.hasOwn(snapshot.hash, '10'), JSON.stringify(snapshot));
      const { data } = await watcher.event('pusher_internal:member_added');
      assert.equal(JSON.parse(data).user_id, '10');
      const same = await (await raw(t)).join(apps.main, channel, { user_id: '10' });
      assert.equal(same.count, 2);
    });

    test('§18.38 user_info is passed on as it is, whatever it is, and may be missing', async (t) => {
      const channel = unique('presence-room');
      const watcher = await raw(t);
      await watcher.join(apps.main, channel, { user_id: 'ann' });
      const infos = { yes: true, text: 'Zoë 🚀', list: [1, { a: [] }], number: 1.5, nothing: null, missing: undefined };
      for (const [id, info] of Object.entries(infos)) {
        await (await raw(t, there)).join(apps.main, channel, { user_id: id, user_info: info });
      }
      const frames = await watcher.events('pusher_internal:member_added', Object.keys(infos).length);
      const told = frames.map(({ data }) => JSON.parse(data)).map(({ user_id: id, user_info: info }) => [id, info]);
      const { ids, hash } = await (await raw(t)).join(apps.main, channel, { user_id: 'late' });
      for (const seen of [Object.fromEntries(told), hash]) {
        for (const [id, info] of Object.entries(infos)) assert.deepEqual(seen[id] ?? null, info ?? null, id);
      }
      assert.deepEqual([...ids].sort(), Object.keys(hash).sort(), 'who has no user_info is in hash, too');
    });

    test('§18.44 names like __proto__ and constructor are data', async (t) => {
      const channel = unique('presence-constructor');
      const watcher = await raw(t);
      await watcher.join(apps.main, channel, { user_id: 'ann' });
      const info = '{"__proto__":{"admin":true},"constructor":1}';
      const ids = ['__proto__', 'constructor', 'toString'];
      for (const id of ids) {
        await (await raw(t, there)).join(apps.main, channel, `{"user_id":"${id}","user_info":${info}}`);
      }
      const frames = await watcher.events('pusher_internal:member_added', ids.length);
      assert.deepEqual(
        frames.map(({ data }) => JSON.parse(data).user_id),
        ids,
      );
      assert.ok(frames.every(({ data }) => JSON.stringify(JSON.parse(data).user_info) === info));
      const { hash, count } = await (await raw(t)).join(apps.main, channel, { user_id: 'late' });
      assert.equal(count, ids.length + 2);
      for (const id of ids) assert.equal(JSON.stringify(Object.getOwnPropertyDescriptor(hash, id).value), info);
    });

    test('§6 another user_info of a second connection changes nothing', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, here, channel, 'ann');
      const first = await member(t, here, channel, 'bob', { name: 'first' });
      const second = await member(t, there, channel, 'bob', { name: 'second' });
      assert.deepEqual((await second.subscription.present()).bob, { name: 'first' });
      first.subscriber.disconnect();
      await settled(t, channel, watcher);
      const { subscription: late } = await member(t, there, channel, 'late');
      for (const each of [watcher, late]) assert.deepEqual((await each.present()).bob, { name: 'first' });
      assert.deepEqual(watcher.toldOf('bob'), ['added']);
    });

    test('one who left and comes back is new, with the new user_info', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, here, channel, 'ann');
      const { subscriber } = await member(t, there, channel, 'bob', { name: 'first' });
      subscriber.unsubscribe(channel);
      await watcher.removed('bob');
      await member(t, there, channel, 'bob', { name: 'second' });
      await watcher.knows({ ...members('ann'), bob: { name: 'second' } });
    });

    test('a closed connection is gone at once, a dropped one after its grace', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, here, channel, 'ann');
      const [dropped, closed] = [await raw(t, there), await raw(t, there)];
      await dropped.join(apps.main, channel, { user_id: 'dropped' });
      await closed.join(apps.main, channel, { user_id: 'closed' });
      dropped.ws.terminate();
      closed.ws.close();
      await watcher.removed('dropped', GONE_MS);
      const told = watcher.notices.items.filter(({ event }) => event === 'pusher:member_removed');
      assert.deepEqual(
        told.map(({ data }) => data.id),
        ['closed', 'dropped'],
      );
    });

    test('§18.18 who dies without a close frame is removed', async (t) => {
      const channel = unique('presence-room');
      const watchers = [
        (await member(t, here, channel, 'ann')).subscription,
        (await member(t, there, channel, 'amy')).subscription,
      ];
      const door = await FrontDoor.open(t, here);
      const { subscriber } = await member(t, door, channel, 'bob');
      await Promise.all(watchers.map((watcher) => watcher.added('bob')));
      door.cut();
      // It must not come back meanwhile.
      subscriber.disconnect();
      await Promise.all(watchers.map((watcher) => watcher.removed('bob', GONE_MS)));
    });

    test('§18.20 after a cut, a member who comes back was never away', async (t) => {
      const { channel, watcher } = await inTime(GRACE_MS, 'coming back', async () => {
        const channel = unique('presence-room');
        const { subscription: watcher } = await member(t, there, channel, 'ann');
        const door = await FrontDoor.open(t, here);
        const { subscriber, subscription } = await member(t, door, channel, 'bob');
        await watcher.added('bob');
        const begun = performance.now();
        door.cut();
        door.leadTo(there);
        await subscriber.connected(2);
        await isBack(subscription);
        return { tookMs: performance.now() - begun, channel, watcher };
      });
      // Somebody cut later is gone later: when it is, the grace of the first has passed.
      const later = await raw(t, here);
      await later.join(apps.main, channel, { user_id: 'later' });
      later.ws.terminate();
      await watcher.removed('later', GONE_MS);
      assert.deepEqual(watcher.toldOf('bob'), ['added']);
      await watcher.knows(members('ann', 'bob'));
    });

    test('§18.20 nor one who comes back before the old connection is noticed dead', async (t) => {
      const channel = unique('presence-room');
      const { subscription: watcher } = await member(t, there, channel, 'ann');
      const door = await FrontDoor.open(t, here);
      const { subscriber, subscription } = await member(t, door, channel, 'bob');
      const release = door.strand();
      await subscriber.connected(2);
      await isBack(subscription);
      release();
      const later = await raw(t, here);
      await later.join(apps.main, channel, { user_id: 'later' });
      later.ws.terminate();
      await watcher.removed('later', GONE_MS);
      assert.deepEqual(watcher.toldOf('bob'), ['added']);
    });

    test('client events carry the sender’s user_id as signed, published events none', async (t) => {
      const channel = unique('presence-room');
      const [sender, receiver] = [await raw(t, there), await raw(t)];
      await sender.join(apps.main, channel, '{"user_id":10}');
      await receiver.join(apps.main, channel, { user_id: 'ann' });
      sender.send({ event: 'client-wave', channel, data: 1, user_id: 'forged' });
      assert.equal((await receiver.event('client-wave')).user_id, '10');
      await publisher(t, route.publishEdge, apps.main).trigger(channel, 'news', 1);
      assert.ok(!('user_id' in (await receiver.event('news'))));
    });

    const invalid = {
      'no channel_data': undefined,
      'channel_data that is not JSON': 'bob',
      'no user_id': '{"user_info":{}}',
      'a user_id that is null': '{"user_id":null}',
      'a user_id that is an object': '{"user_id":{}}',
      'a user_id that is a flag': '{"user_id":true}',
      'an empty user_id': '{"user_id":""}',
      'a list': '["bob"]',
    };
    for (const [what, data] of Object.entries(invalid)) {
      test(`§4 refused: ${what}`, async (t) => {
        const channel = unique('presence-room');
        const socket = await raw(t);
        await socket.beginJoin(apps.main, channel, data);
        const { type, status } = await socket.refusalOf(channel);
        assert.deepEqual([type, status], ['AuthError', 401]);
        assert.equal((await socket.join(apps.main, channel, { user_id: 'bob' })).count, 1);
      });
    }

    test('§10 refused: channel_data other than what was signed', async (t) => {
      const channel = unique('presence-room');
      const socket = await raw(t);
      await socket.beginJoin({ ...apps.main, secret: 'wrong' }, channel, { user_id: 'bob' });
      assert.deepEqual((await socket.refusalOf(channel)).status, 401);
    });
  });
}
