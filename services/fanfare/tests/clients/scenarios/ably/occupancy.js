// How many are on a channel, and what metachannels tell.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';
import { eventually } from '../../harness/wait.js';

const APP = apps.ably;

export function occupancy(way) {
  const metricsOf = (channel) => channel.data('[meta]occupancy').map(({ metrics }) => metrics);

  describe('occupancy', () => {
    test('is told at attach and when it changes', async (t) => {
      const name = unique('busy');
      const watcher = await (await way.connect(t, APP)).subscribe(name, { params: { occupancy: 'metrics' } });
      const reached = (what, isSo) => watcher.messages.until(() => metricsOf(watcher).some(isSo), what);
      await reached('one subscriber', ({ subscribers, connections }) => subscribers === 1 && connections === 1);
      const member = await way.connect(t, APP, { clientId: 'bob' });
      const publisher = member.channel(name, { modes: ['PRESENCE', 'PUBLISH'] });
      await publisher.channel.presence.enter();
      await reached('a member and a publisher', (metrics) => {
        const { connections, publishers, subscribers, presenceMembers, presenceConnections } = metrics;
        return (
          connections === 2 &&
          publishers === 2 &&
          subscribers === 1 &&
          presenceMembers === 1 &&
          presenceConnections >= 1
        );
      });
      await member.close();
      await watcher.messages.until(() => {
        const last = metricsOf(watcher).at(-1);
        return last.connections === 1 && last.presenceMembers === 0;
      }, 'the member to be gone');
      assert.equal((await watcher.channel.history()).items.length, 0);
    });

    test('one count alone', async (t) => {
      const name = unique('busy');
      const client = await way.connect(t, APP);
      const watcher = await client.subscribe(name, { params: { occupancy: 'metrics.publishers' } });
      await watcher.messages.until(
        () => metricsOf(watcher).some(({ publishers }) => publishers === 1),
        'one publisher',
      );
      assert.ok(metricsOf(watcher).every((metrics) => Object.keys(metrics).length === 1));
    });

    test('REST tells it of one channel, used or not', async (t) => {
      const name = unique('busy');
      const rest = await way.rest(t, APP);
      const never = await rest.channels.get(name).status();
      assert.deepEqual(
        [never.channelId, never.status.isActive, never.status.occupancy.metrics.connections],
        [name, false, 0],
      );
      const client = await way.connect(t, APP, { clientId: 'bob' });
      await client.channel(name).channel.presence.enter();
      await eventually(async () => {
        const { isActive, occupancy } = (await rest.channels.get(name).status()).status;
        const { connections, presenceMembers } = occupancy.metrics;
        return isActive && connections === 1 && presenceMembers === 1;
      }, 'the channel to be active');
    });

    test('REST lists channels', async (t) => {
      const app = apps.ablyListed;
      const client = await way.connect(t, app);
      const prefix = unique('listed');
      const names = ['a', 'b', 'c'].map((name) => `${prefix}-${name}`);
      for (const name of names) await client.channel(name).channel.attach();
      const rest = await way.rest(t, app);
      const list = async (params) => {
        const answer = await rest.request('GET', '/channels', 6, { prefix, ...params });
        assert.equal(answer.statusCode, 200);
        return answer;
      };
      await eventually(async () => (await list({})).items.length === 3, 'three channels');
      assert.deepEqual((await list({ by: 'id' })).items.sort(), names);
      const details = (await list({ by: 'value' })).items;
      assert.deepEqual(details.map(({ channelId }) => channelId).sort(), names);
      const paged = [];
      for (let page = await list({ limit: 2 }); page; page = await page.next()) paged.push(...page.items);
      assert.deepEqual(paged.sort(), names);
      const denied = await way.rest(t, withKey(APP, '1050.listen'));
      assert.equal((await denied.request('GET', '/channels', 6)).errorCode, 40160);
    });
  });

  describe('metachannels', () => {
    test('connections and channels that come and go', async (t) => {
      const app = apps.ablyCounted;
      const watcher = await way.connect(t, app);
      const [connections, channels] = await Promise.all([
        watcher.subscribe('[meta]connection.lifecycle'),
        watcher.subscribe('[meta]channel.lifecycle'),
      ]);
      const told = (inbox, event, isIt) =>
        inbox.messages.find((message) => message.name === event && isIt(message.data), `${event} on ${inbox.name}`);
      // A node learns a moment later that somebody wants to know: one connection, and one channel, after the other.
      const seen = (inbox, event, isIt) => inbox.messages.items.find(({ name, data }) => name === event && isIt(data));
      const clients = new Map();
      let opened;
      await eventually(async () => {
        const client = await way.connect(t, app, { clientId: 'bob' });
        clients.set(client.id, client);
        opened = seen(connections, 'connection.opened', ({ connectionId }) => clients.has(connectionId));
        return opened !== undefined;
      }, 'a connection to be told');
      const id = opened.data.connectionId;
      const client = clients.get(id);
      assert.equal(opened.data.clientId, 'bob');
      const names = new Set();
      let channel;
      await eventually(async () => {
        const name = unique('lives');
        names.add(name);
        await client.channel(name).channel.attach();
        channel = seen(channels, 'channel.opened', ({ channelId }) => names.has(channelId));
        return channel !== undefined;
      }, 'a channel to be told');
      await client.close();
      await told(connections, 'connection.closed', ({ connectionId }) => connectionId === id);
      await told(channels, 'channel.closed', ({ channelId }) => channelId === channel.data.channelId);
    });

    test('nobody can publish there, and not everybody may listen', async (t) => {
      const client = await way.connect(t, APP);
      await assert.rejects(client.channel('[meta]log').channel.publish('x', ''));
      const listener = await way.connect(t, withKey(APP, '1050.listen'));
      assert.equal((await failure(listener.channel('[meta]log').channel.attach())).code, 40160);
    });
  });
}
