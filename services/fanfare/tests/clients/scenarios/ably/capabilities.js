// What a connection may do changes with its token: AUTH within the connection.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { callback, jwt } from '../../harness/ably/credentials.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;

export function capabilities(way) {
  /** A client whose next token has the capability that the returned function sets. */
  async function changeable(t, capability) {
    let current = capability;
    const authCallback = callback(() => jwt(APP, { clientId: 'bob', capability: current }));
    const client = await way.connect(t, APP, { authCallback });
    const change = async (next) => {
      current = next;
      await client.realtime.auth.authorize();
    };
    return { client, change };
  }

  describe('capabilities that change', () => {
    test('a lost channel fails, the others and the connection stay', async (t) => {
      const [lost, kept] = [unique('lost'), unique('kept')];
      const { client, change } = await changeable(t, { '*': ['*'] });
      const [gone, stays] = [await client.subscribe(lost), await client.subscribe(kept)];
      const { id } = client;
      await change({ [kept]: ['subscribe'] });
      const { reason } = await gone.became('failed');
      assert.deepEqual([reason.code, reason.statusCode], [40160, 401]);
      const publisher = await way.rest(t, APP);
      await publisher.channels.get(lost).publish('secret', '');
      await publisher.channels.get(kept).publish('still', '');
      await stays.message('still');
      assert.deepEqual(gone.data(), []);
      assert.equal(client.id, id);
      assert.equal((await failure(stays.channel.publish('x', ''))).code, 40160);
    });

    test('a lost right to be present ends it', async (t) => {
      const name = unique('room');
      const { client, change } = await changeable(t, { '*': ['*'] });
      await client.channel(name).channel.presence.enter();
      const watcher = await (await way.connect(t, APP)).channel(name).watch();
      await watcher.knows({ bob: undefined });
      await change({ [unique('other')]: ['subscribe'] });
      await watcher.event('leave', 'bob');
    });

    test('what was gained counts at once', async (t) => {
      const name = unique('room');
      const { client, change } = await changeable(t, { [name]: ['subscribe'] });
      const channel = await client.subscribe(name);
      assert.equal((await failure(channel.channel.publish('x', ''))).code, 40160);
      await change({ '*': ['*'] });
      await channel.channel.publish('x', '');
      await channel.message('x');
      await client.subscribe(unique('another'));
      await channel.channel.presence.enter();
    });
  });
}
