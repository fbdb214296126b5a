// The presence set: who is in it, after whatever members do.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { jwt } from '../../harness/ably/credentials.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
/** More members than go into one SYNC frame. */
const CROWD = 150;
/** For how long a member stays whose connection was lost, and much more. */
const GRACE_MS = 90_000;

export function presence(way) {
  const watch = async (t, name, options) => (await way.connect(t, APP, options)).channel(name).watch();
  /** A member: its connection and its channel. */
  const member = async (t, name, clientId, data) => {
    const client = await way.connect(t, APP, { clientId });
    const channel = client.channel(name);
    await channel.channel.presence.enter(data);
    return { client, channel, presence: channel.channel.presence };
  };

  describe('presence', () => {
    test('enter, update and leave, with data of every kind', async (t) => {
      const name = unique('room');
      const watcher = await watch(t, name);
      const bob = await member(t, name, 'bob', { mood: 'good' });
      assert.deepEqual((await watcher.event('enter', 'bob')).data, { mood: 'good' });
      await bob.presence.update('text');
      assert.equal((await watcher.event('update', 'bob')).data, 'text');
      await watcher.knows({ bob: 'text' });
      await bob.presence.leave();
      const left = await watcher.event('leave', 'bob');
      assert.equal(left.data, 'text', 'who leaves without a word repeats the last');
      await watcher.knows({});
      await bob.presence.enter(Buffer.from([1, 255]));
      const [, again] = await watcher.presence.until((events) => {
        const entered = events.filter(({ action }) => action === 'enter');
        return entered.length === 2 && entered;
      }, 'the second enter');
      assert.deepEqual(Buffer.from(again.data), Buffer.from([1, 255]));
      assert.equal(again.connectionId, bob.client.id);
      assert.match(again.id, new RegExp(`^${bob.client.id}:\\d+:0$`));
    });

    test('who comes later learns who is there, also from REST', async (t) => {
      const name = unique('room');
      await member(t, name, 'ann', 'a');
      await member(t, name, 'bob', { b: 1 });
      const late = await watch(t, name);
      await late.knows({ ann: 'a', bob: { b: 1 } });
      const rest = (await way.rest(t, APP)).channels.get(name).presence;
      const { items } = await rest.get();
      assert.deepEqual(items.map(({ clientId, data, action }) => [clientId, data, action]).sort(), [
        ['ann', 'a', 'present'],
        ['bob', { b: 1 }, 'present'],
      ]);
      assert.deepEqual(
        (await rest.get({ clientId: 'bob' })).items.map(({ clientId }) => clientId),
        ['bob'],
      );
      assert.equal((await rest.get({ limit: 1 })).items.length, 1);
    });

    test('one connection may be many members, and a large set comes whole', async (t) => {
      const name = unique('crowd');
      const host = await way.connect(t, APP);
      const { presence } = host.channel(name).channel;
      const ids = Array.from({ length: CROWD }, (_, index) => `member-${index}`);
      await Promise.all(ids.map((id) => presence.enterClient(id, id)));
      const late = await watch(t, name);
      await late.knows(Object.fromEntries(ids.map((id) => [id, id])));
      await presence.leaveClient('member-7');
      await late.event('leave', 'member-7');
      await host.close();
      await late.knows({});
    });

    test('one user on two connections is two members', async (t) => {
      const name = unique('room');
      const [one, two] = [await member(t, name, 'bob', '1'), await member(t, name, 'bob', '2')];
      const watcher = await watch(t, name);
      assert.deepEqual(await watcher.members().then((members) => members.map(([id]) => id)), ['bob', 'bob']);
      await one.presence.leave();
      await watcher.knows({ bob: '2' });
      await two.client.close();
      await watcher.knows({});
    });

    test('a clean end and a detach leave at once', async (t) => {
      const name = unique('room');
      const watcher = await watch(t, name);
      const [ann, bob] = [await member(t, name, 'ann'), await member(t, name, 'bob')];
      await Promise.all(['ann', 'bob'].map((id) => watcher.event('enter', id)));
      await ann.client.close();
      await watcher.event('leave', 'ann');
      await bob.channel.channel.detach();
      await watcher.event('leave', 'bob');
      await watcher.knows({});
    });

    test('who drops and is back soon was never away', async (t) => {
      const name = unique('room');
      const watcher = await watch(t, name);
      const bob = await member(t, name, 'bob', 'here');
      await watcher.event('enter', 'bob');
      for (const time of [2, 3, 4]) {
        bob.client.door.cut();
        await bob.client.became('connected', time);
        await bob.channel.became('attached', time);
      }
      await bob.presence.update('back');
      await watcher.event('update', 'bob');
      const told = watcher.presence.items.map(({ action }) => action);
      assert.deepEqual(told, ['enter', 'update']);
      await watcher.knows({ bob: 'back' });
      await (await watch(t, name)).knows({ bob: 'back' });
      await bob.channel.knows({ bob: 'back' });
    });

    test('who drops and stays away leaves after a while', { timeout: 2 * GRACE_MS }, async (t) => {
      const name = unique('room');
      const watcher = await watch(t, name);
      const bob = await member(t, name, 'bob', 'here');
      await watcher.event('enter', 'bob');
      const dropped = performance.now();
      bob.client.door.leadTo({ host: '127.0.0.1', port: 1 });
      bob.client.door.cut();
      const left = await watcher.event('leave', 'bob', GRACE_MS);
      assert.ok(performance.now() - dropped > 5_000, 'it has time to come back');
      assert.ok(!left.id.startsWith(bob.client.id), 'the server says so, not the member');
      assert.equal(left.data, 'here');
      await watcher.knows({});
    });

    test('a watcher that drops and resumes has the right set', async (t) => {
      const name = unique('room');
      const [ann, bob] = [await member(t, name, 'ann', 'a'), await member(t, name, 'bob', 'b')];
      const other = await way.connect(t, APP);
      const view = await other.channel(name).watch();
      await view.knows({ ann: 'a', bob: 'b' });
      other.door.cut();
      await ann.presence.leave();
      await bob.presence.update('b2');
      await other.became('connected', 2);
      await view.became('attached', 2);
      await view.knows({ bob: 'b2' });
      await bob.presence.leave();
      await view.knows({});
    });

    test('who lost its connection for good enters again by itself', async (t) => {
      const name = unique('room');
      const watcher = await watch(t, name);
      const bob = await member(t, name, 'bob', 'here');
      await watcher.event('enter', 'bob');
      await bob.client.close();
      await watcher.event('leave', 'bob');
      bob.client.realtime.connect();
      await bob.client.became('connected', 2);
      await bob.presence.enter('again');
      await watcher.knows({ bob: 'again' });
    });

    test('who may not', async (t) => {
      const name = unique('room');
      const nobody = (await way.connect(t, APP)).channel(name).channel;
      await nobody.attach();
      // Without a clientId ably-js does not even ask the server.
      assert.ok([40012, 91000].includes((await failure(nobody.presence.enter())).code));
      const listener = await way.connect(t, APP, {
        token: jwt(APP, { clientId: 'bob', capability: { '*': ['subscribe'] } }),
      });
      assert.equal((await failure(listener.channel(name).channel.presence.enter())).code, 40160);
      const bob = await way.connect(t, APP, { token: jwt(APP, { clientId: 'bob' }) });
      assert.equal((await failure(bob.channel(name).channel.presence.enterClient('eve'))).code, 40012);
    });

    test('its history', async (t) => {
      const name = unique('room');
      const bob = await member(t, name, 'bob', '1');
      await bob.presence.update('2');
      await bob.presence.leave('3');
      const expected = [
        ['leave', '3'],
        ['update', '2'],
        ['enter', '1'],
      ];
      const rest = (await way.rest(t, APP)).channels.get(name).presence;
      for (const page of [await rest.history(), await bob.presence.history()]) {
        assert.deepEqual(
          page.items.map(({ action, data }) => [action, data]),
          expected,
        );
      }
      const [oldest] = (await rest.history({ direction: 'forwards', limit: 1 })).items;
      assert.deepEqual([oldest.action, oldest.clientId, oldest.connectionId], ['enter', 'bob', bob.client.id]);
    });
  });
}
