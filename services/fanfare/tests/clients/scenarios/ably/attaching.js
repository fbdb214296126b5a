// Attaching: modes, params, names, and what is refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { jwt } from '../../harness/ably/credentials.js';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const DEFAULT_MODES = ['presence', 'publish', 'subscribe', 'presence_subscribe', 'annotation_publish'];
/** More than a connection may attach. */
const MANY = 201;

export function attaching(way) {
  describe('attaching', () => {
    test('the default modes', async (t) => {
      const { channel } = (await way.connect(t, apps.ably)).channel(unique('a'));
      const change = await channel.attach();
      assert.deepEqual([change.resumed, change.hasBacklog ?? false], [false, false]);
      assert.deepEqual(channel.modes, DEFAULT_MODES);
      assert.deepEqual(channel.params, {});
      await channel.detach();
      assert.equal(channel.state, 'detached');
      await channel.attach();
    });

    test('modes that were asked for, as flags and as a param', async (t) => {
      const client = await way.connect(t, apps.ably);
      const asked = client.channel(unique('a'), { modes: ['PUBLISH', 'PRESENCE'] }).channel;
      await asked.attach();
      assert.deepEqual(asked.modes, ['presence', 'publish']);
      const param = client.channel(unique('b'), {
        params: { modes: 'subscribe,publish' },
        modes: ['PRESENCE'],
      }).channel;
      await param.attach();
      assert.deepEqual(param.modes, ['publish', 'subscribe']);
      assert.deepEqual(param.params, { modes: 'subscribe,publish' });
    });

    test('what a mode does not allow', async (t) => {
      const client = await way.connect(t, apps.ably, { clientId: 'bob' });
      const name = unique('a');
      const listener = client.channel(name, { modes: ['SUBSCRIBE'] });
      await listener.subscribe();
      assert.equal((await failure(listener.channel.publish('x', ''))).code, 40165);
      assert.equal((await failure(listener.channel.presence.enter())).code, 40165);
      const other = (await way.connect(t, apps.ably)).channel(name, { modes: ['PUBLISH'] });
      await other.channel.attach();
      await other.channel.publish('seen', '');
      await listener.message('seen');
    });

    test('modes and params of an attached channel change at once', async (t) => {
      const client = await way.connect(t, apps.ably);
      const { channel } = await client.subscribe(unique('a'), { modes: ['SUBSCRIBE'] });
      await channel.setOptions({ modes: ['SUBSCRIBE', 'PUBLISH'], params: { delta: 'vcdiff' } });
      assert.deepEqual(channel.modes, ['publish', 'subscribe']);
      assert.deepEqual(channel.params, { delta: 'vcdiff' });
      await channel.publish('now', '');
    });

    test('unknown params are ignored, known ones with a bad value refused', async (t) => {
      const client = await way.connect(t, apps.ably);
      const { channel } = client.channel(unique('a'), { params: { nonsense: '1', rewind: '1', echo: 'false' } });
      await channel.attach();
      assert.deepEqual(channel.params, { rewind: '1', echo: 'false' });
      for (const params of [{ rewind: 'x' }, { delta: 'x' }, { modes: 'fly' }, { occupancy: 'x' }]) {
        const error = await failure(client.channel(unique('b'), { params }).channel.attach());
        assert.deepEqual([error.code, error.statusCode], [40000, 400], JSON.stringify(params));
      }
    });

    test('names: what is one, and what is not', async (t) => {
      const client = await way.connect(t, apps.ably);
      for (const name of ['room:1/b?c=d%2F', '名前 ☃', 'a[b]', 'private-x', 'presence-y'].map(unique)) {
        const channel = await client.subscribe(name);
        await channel.channel.publish('x', name);
        assert.equal((await channel.message('x')).data, name);
        const rest = (await way.rest(t, apps.ably)).channels.get(name);
        assert.equal((await rest.history()).items[0].data, name);
      }
      for (const name of [':hell', '[invalid', '[unknown]a', '#server-to-user-1', '[meta]nothing', '']) {
        const { channel } = client.channel(name);
        assert.equal((await failure(channel.attach())).code, 40010, name);
        assert.equal(channel.state, 'failed');
      }
      assert.equal((await failure(client.channel(':hell2').channel.publish('x', ''))).code, 40010);
      assert.equal(client.connection.state, 'connected');
    });

    test('what the capability does not allow', async (t) => {
      const client = await way.connect(t, withKey(apps.ably, '1050.rooms'));
      const denied = await failure(client.channel('lobby').channel.attach());
      assert.deepEqual([denied.code, denied.statusCode], [40160, 401]);
      for (const name of ['room:1', 'room:1:a', 'board:x:open']) await client.channel(name).channel.attach();
      for (const name of ['room', 'board:open', 'board:x:y:open']) {
        assert.equal((await failure(client.channel(name).channel.attach())).code, 40160, name);
      }
      assert.deepEqual(client.channel('board:x:open').channel.modes, ['subscribe', 'presence_subscribe']);
      assert.equal((await failure(client.channel('board:x:open').channel.publish('x', ''))).code, 40160);
      assert.equal((await failure(client.channel('lobby2').channel.publish('x', ''))).code, 40160);
      await client.channel('room:2').channel.publish('x', '');
    });

    test('a token is worth what it and its key allow', async (t) => {
      const capability = { '*': ['publish', 'subscribe'] };
      const client = await way.connect(t, apps.ably, { token: jwt(withKey(apps.ably, '1050.listen'), { capability }) });
      const { channel } = await client.subscribe(unique('a'));
      assert.deepEqual(channel.modes, ['subscribe', 'presence_subscribe']);
      assert.equal((await failure(channel.publish('x', ''))).code, 40160);
    });

    test('objects and single annotations are not granted', async (t) => {
      const { channel } = (await way.connect(t, apps.ably)).channel(unique('a'), {
        modes: ['SUBSCRIBE', 'ANNOTATION_SUBSCRIBE', 'OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'],
      });
      await channel.attach();
      assert.deepEqual(channel.modes, ['subscribe']);
    });

    test('a connection has a limit of channels', async (t) => {
      const client = await way.connect(t, apps.ably);
      const prefix = unique('many');
      const channels = Array.from({ length: MANY }, (_, index) => client.channel(`${prefix}-${index}`).channel);
      const outcomes = await Promise.allSettled(channels.map((channel) => channel.attach()));
      const codes = outcomes.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.code);
      assert.deepEqual(codes, [90010]);
      await channels[0].detach();
      await channels[MANY - 1].attach();
    });
  });
}
