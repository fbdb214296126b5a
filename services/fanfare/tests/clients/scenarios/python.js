// The `pusher` library for Python against what pusher-js receives.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { pythonLibrary } from '../harness/python.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

export function python(route) {
  const libraryOf = (t, app = apps.main) => pythonLibrary(t, route.publishEdge, app);

  async function connect(t, { identity, app = apps.main } = {}) {
    return Subscriber.connect(t, route.subscribeEdge, app, await identifiedAs(t, app, identity));
  }

  /** Counts may lag by moments: waits until the library answers this. */
  async function answers(library, call, expected) {
    let last;
    const right = async () => {
      last = await library.call(...call);
      assert.deepEqual(last, expected);
      return true;
    };
    await eventually(right, `${call[0]} to answer ${JSON.stringify(expected)}, not ${JSON.stringify(last)}`);
  }

  describe('the Python library', () => {
    test('trigger, to one channel and to several, with an excluded socket', async (t) => {
      const [excluded, other] = [await connect(t), await connect(t)];
      const names = [unique('news'), unique('private-news')];
      const [mine, theirs] = await Promise.all(
        [excluded, other].map((each) => Promise.all(names.map((name) => each.subscribe(name)))),
      );
      const library = libraryOf(t);
      assert.deepEqual(await library.call('trigger', names, 'both', { text: 'Zoë 🚀' }, excluded.socketId), {});
      assert.deepEqual(await library.call('trigger', names[0], 'one', 'plain text'), {});
      assert.equal((await mine[0].event('one')).data, 'plain text');
      for (const each of theirs) assert.deepEqual((await each.event('both')).data, { text: 'Zoë 🚀' });
      assert.deepEqual(mine[0].dataOf('both'), []);
    });

    test('trigger_batch', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('news'));
      const batch = [1, 2, 3].map((number) => ({ channel: subscription.name, name: 'number', data: { number } }));
      assert.deepEqual(await libraryOf(t).call('trigger_batch', batch), {});
      await subscription.events.count(3);
      assert.deepEqual(subscription.dataOf('number'), [{ number: 1 }, { number: 2 }, { number: 3 }]);
    });

    test('trigger on an encrypted channel', async (t) => {
      const subscription = await (await connect(t)).subscribe(unique('private-encrypted-vault'));
      await libraryOf(t).call('trigger', subscription.name, 'secret', { text: 'Zoë 🚀' });
      assert.deepEqual((await subscription.event('secret')).data, { text: 'Zoë 🚀' });
    });

    test('§18.25 channels_info, channel_info and users_info, which send the body_md5 of nothing', async (t) => {
      const library = libraryOf(t);
      const prefix = unique('presence-py');
      assert.deepEqual(await library.call('channels_info', prefix), { channels: {} });
      const client = await connect(t, { identity: { member: { user_id: 'ann' } } });
      const { name } = await client.subscribe(`${prefix}-room`);
      const counts = ['user_count', 'subscription_count'];
      await answers(library, ['channels_info', prefix, counts], {
        channels: { [name]: { user_count: 1, subscription_count: 1 } },
      });
      await answers(library, ['channel_info', name, counts], { occupied: true, user_count: 1, subscription_count: 1 });
      await answers(library, ['users_info', name], { users: [{ id: 'ann' }] });
    });

    test('authenticate lets in to every kind of channel', async (t) => {
      const library = libraryOf(t);
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      const member = { user_id: 'ann', user_info: { name: 'Zoë' } };
      for (const [channel, ...data] of [
        [unique('private-a')],
        [unique('private-encrypted-a')],
        [unique('private-cache-a')],
        [unique('presence-a'), member],
      ]) {
        const { auth, channel_data } = await library.call('authenticate', channel, await socket.socketId(), ...data);
        socket.send({ event: 'pusher:subscribe', data: { channel, auth, channel_data } });
        await socket.event('pusher_internal:subscription_succeeded', (frame) => frame.channel === channel);
      }
    });

    test('authenticate_user signs in, send_to_user reaches the user', async (t) => {
      const library = libraryOf(t);
      const id = unique('user');
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      const proof = await library.call('authenticate_user', await socket.socketId(), { id });
      socket.send({ event: 'pusher:signin', data: proof });
      await socket.event('pusher:signin_success');
      await socket.subscribe(`#server-to-user-${id}`);
      assert.deepEqual(await library.call('send_to_user', id, 'for-you', { n: 1 }), {});
      assert.equal((await socket.event('for-you')).data, '{"n": 1}');
    });

    test('§11 terminate_user_connections, which posts to a path without /apps', async (t) => {
      const library = libraryOf(t);
      const id = unique('user');
      const client = await connect(t, { identity: { user: { id } } });
      await client.signIn();
      assert.deepEqual(await library.call('terminate_user_connections', id), {});
      await client.error(4009);
      await client.gaveUp();
      assert.deepEqual(await library.call('terminate_user_connections', unique('nobody')), {});
    });

    test('refusals are the library’s own errors', async (t) => {
      const wrong = libraryOf(t, { ...apps.main, secret: 'wrong' });
      await assert.rejects(wrong.call('trigger', 'news', 'event', 'x'), { name: 'PusherBadAuth' });
      const disabled = libraryOf(t, apps.disabled);
      await assert.rejects(disabled.call('trigger', 'news', 'event', 'x'), { name: 'PusherForbidden' });
      const large = libraryOf(t).call('trigger', 'news', 'event', 'x'.repeat(10_241));
      await assert.rejects(large, { name: 'PusherBadStatus' });
    });
  });
}
