// Connections that are lost and come back, on another node: nothing is missed, nothing comes twice.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { callback, jwt } from '../../harness/ably/credentials.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';
import { eventually } from '../../harness/wait.js';

const APP = apps.ably;
const TEST_MS = 300_000;
/** More messages than a channel keeps unless configured otherwise. */
const TOO_MANY = 120;
const NOWHERE = { host: '127.0.0.1', port: 1 };

const sequence = (length) => Array.from({ length }, (_, index) => index);
const numbers = (channel) => channel.data('number').map(Number);

/** A connection key with another signature than the server's. */
const unknownKey = (key) => `${key.slice(0, -4)}AAAA`;

export function resuming(way) {
  describe('resuming', () => {
    test('again and again, while others publish', { timeout: TEST_MS }, async (t) => {
      const publisher = (await way.connect(t, APP)).channel(unique('resumed')).channel;
      const reader = await way.connect(t, APP);
      const channel = await reader.subscribe(publisher.name);
      const { id } = reader;
      const keys = [reader.connection.key];
      let next = 0;
      for (const time of [2, 3, 4]) {
        for (let count = 0; count < 5; count += 1) await publisher.publish('number', `${next++}`);
        reader.door.cut();
        for (let count = 0; count < 5; count += 1) await publisher.publish('number', `${next++}`);
        await reader.became('connected', time);
        assert.equal((await channel.became('attached', time)).resumed, true);
        assert.equal(reader.id, id);
        keys.push(reader.connection.key);
      }
      await publisher.publish('end', '');
      await channel.message('end');
      assert.deepEqual(numbers(channel), sequence(next));
      assert.equal(new Set(keys).size, keys.length, 'each time another key');
    });

    test('what was sent and not acknowledged is published once', { timeout: TEST_MS }, async (t) => {
      const name = unique('resent');
      const reader = await (await way.connect(t, APP)).subscribe(name);
      const client = await way.connect(t, APP);
      const { channel } = client.channel(name);
      const results = [];
      for (const time of [2, 3, 4]) {
        for (let count = 0; count < 20; count += 1) results.push(channel.publish('number', `${results.length}`));
        // Some have been accepted by now and not answered, some have not left yet.
        client.door.cut();
        for (let count = 0; count < 5; count += 1) results.push(channel.publish('number', `${results.length}`));
        await client.became('connected', time);
      }
      const serials = (await Promise.all(results)).map(({ serials: [serial] }) => serial);
      await channel.publish('end', '');
      await reader.message('end');
      assert.deepEqual(numbers(reader), sequence(results.length));
      assert.deepEqual(
        reader.messages.items.slice(0, -1).map(({ serial }) => serial),
        serials,
      );
    });

    test('the server has not noticed the loss yet: the newer transport counts', { timeout: TEST_MS }, async (t) => {
      const client = await way.connect(t, APP, { clientId: 'bob' });
      const channel = await client.subscribe(unique('stranded'));
      await channel.channel.presence.enter();
      const { id } = client;
      const release = client.door.strand();
      t.after(release);
      await client.became('connected', 2);
      assert.equal(client.id, id);
      await channel.became('attached', 2);
      await channel.channel.publish('once', '');
      await channel.message('once');
      await channel.channel.publish('end', '');
      await channel.message('end');
      assert.deepEqual(channel.data('once'), ['']);
      await channel.knows({ bob: undefined });
    });

    test('recover: another process goes on where the first was', async (t) => {
      const first = await way.connect(t, APP, { clientId: 'bob' });
      const channel = await first.subscribe(unique('recovered'));
      await channel.channel.publish('number', '0');
      await channel.received(1);
      const [recover, { id }] = [first.connection.createRecoveryKey(), first];
      first.door.leadTo(NOWHERE);
      first.door.cut();
      const publisher = (await way.rest(t, APP)).channels.get(channel.name);
      await publisher.publish('number', '1');
      const second = await way.connect(t, APP, { recover, clientId: 'bob' });
      assert.equal(second.id, id);
      const again = await second.subscribe(channel.name);
      assert.equal((await again.became('attached')).resumed, true);
      await publisher.publish('number', '2');
      await again.received(2);
      assert.deepEqual(numbers(again), [1, 2]);
    });

    test('a key that nobody knows gives a new connection, and says so', async (t) => {
      const first = await way.connect(t, APP);
      const key = JSON.parse(first.connection.createRecoveryKey());
      const recover = JSON.stringify({ ...key, connectionKey: unknownKey(key.connectionKey) });
      const second = await way.begin(t, APP, { recover });
      const { reason } = await second.became('connected');
      assert.equal(reason.code, 80018);
      assert.notEqual(second.id, first.id);
    });

    test('a lost connection’s channels go on all the same', { timeout: TEST_MS }, async (t) => {
      const client = await way.connect(t, APP);
      const channel = await client.subscribe(unique('continued'));
      const { id } = client;
      const manager = client.connection.connectionManager;
      const publisher = (await way.rest(t, APP)).channels.get(channel.name);
      await publisher.publish('number', '0');
      await channel.received(1);
      manager.connectionKey = unknownKey(manager.connectionKey);
      client.door.cut();
      await publisher.publish('number', '1');
      await client.became('connected', 2);
      assert.notEqual(client.id, id);
      assert.equal((await channel.became('attached', 2)).resumed, true);
      await publisher.publish('number', '2');
      await channel.received(3);
      assert.deepEqual(numbers(channel), [0, 1, 2]);
    });

    test('who was away for longer than messages are kept is told', { timeout: TEST_MS }, async (t) => {
      const client = await way.connect(t, APP);
      const channel = await client.subscribe(unique('lost'));
      const publisher = (await way.connect(t, APP)).channel(channel.name).channel;
      await publisher.publish('number', '0');
      await channel.received(1);
      client.door.leadTo(NOWHERE);
      client.door.cut();
      for (const number of sequence(TOO_MANY)) await publisher.publish('number', `${number + 1}`);
      client.door.leadTo(...way.site.edges);
      await client.became('connected', 2);
      const { resumed, reason } = await channel.became('attached', 2);
      assert.deepEqual([resumed, reason?.code], [false, 90003]);
      await publisher.publish('end', '');
      await channel.message('end');
      const after = numbers(channel).slice(1);
      assert.ok(after.length > 0 && after.length < TOO_MANY, `${after.length} came`);
      assert.deepEqual(
        after,
        sequence(after.length).map((index) => TOO_MANY - after.length + 1 + index),
        'the newest, without a hole',
      );
    });

    test('a position of another log is told', async (t) => {
      const client = await way.connect(t, APP);
      const channel = client.channel(unique('foreign'));
      channel.channel.properties.channelSerial = 'ffffffffffffffff-5';
      await channel.subscribe();
      const first = await channel.became('attached');
      assert.deepEqual([first.resumed, first.reason?.code], [false, 90005]);
      await channel.channel.publish('now', '');
      await channel.message('now');
    });

    test('with a token that ends meanwhile', { timeout: TEST_MS }, async (t) => {
      const authCallback = callback(() => jwt(APP, { clientId: 'bob', seconds: 10 }));
      const client = await way.connect(t, APP, { authCallback });
      const ends = Date.now() + 10_000;
      const channel = await client.subscribe(unique('expired'));
      const { id } = client;
      client.door.leadTo(NOWHERE);
      client.door.cut();
      await eventually(() => Date.now() > ends, 'the end of the token');
      await (await way.rest(t, APP)).channels.get(channel.name).publish('missed', '');
      client.door.leadTo(...way.site.edges);
      await client.became('connected', 2);
      assert.equal(client.id, id);
      await channel.message('missed');
      assert.ok(authCallback.calls >= 2);
    });

    test('for whoever has another clientId it is no way in', async (t) => {
      const bob = await way.connect(t, APP, { token: jwt(APP, { clientId: 'bob' }) });
      const recover = bob.connection.createRecoveryKey();
      const eve = await way.begin(t, APP, { token: jwt(APP, { clientId: 'eve' }), recover });
      const { reason } = await eve.became('failed');
      assert.deepEqual([reason.code, reason.statusCode], [40102, 401]);
    });
  });
}
