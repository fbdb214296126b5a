// pusher-http-java against what pusher-js receives.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../clients/harness/apps.js';
import { unique } from '../clients/harness/names.js';
import { RawSocket } from '../clients/harness/raw_socket.js';
import { Subscriber } from '../clients/harness/subscriber.js';
import { eventually } from '../clients/harness/wait.js';
import { httpLibrary } from './java.js';

export function javaHttp(route) {
  const libraryOf = (t, app = apps.main) => httpLibrary(t, route.publishEdge, app);
  const connect = (t) => Subscriber.connect(t, route.subscribeEdge, apps.main);

  /** Calls the library until its answer is 200 with this body: counts may lag by moments. */
  async function answers(library, call, expected) {
    const right = async () => {
      const { code, body } = await library.call(...call);
      assert.deepEqual([code, JSON.parse(body)], [200, expected]);
      return true;
    };
    await eventually(right, `${call[0]} to answer ${JSON.stringify(expected)}`);
  }

  describe('pusher-http-java', () => {
    test('publishes to one channel and to several, with an excluded socket, and in batches', async (t) => {
      const library = libraryOf(t);
      const [excluded, other] = [await connect(t), await connect(t)];
      const names = [unique('news'), unique('news')];
      const mine = await excluded.subscribe(names[0]);
      const theirs = await Promise.all(names.map((name) => other.subscribe(name)));
      const data = { text: 'Zoë 🚀 <&>' };
      const { status, code, body } = await library.call('trigger', names, 'both', data, excluded.socketId);
      assert.deepEqual([status, code, body], ['SUCCESS', 200, '{}']);
      await library.call('trigger', [names[0]], 'one', data);
      for (const subscription of theirs) assert.deepEqual((await subscription.event('both')).data, data);
      await mine.event('one');
      assert.deepEqual(mine.dataOf('both'), []);
      const batch = [1, 2, 3].map((number) => ({ channel: names[1], name: 'number', data: { number } }));
      assert.equal((await library.call('triggerBatch', batch)).status, 'SUCCESS');
      await theirs[1].event('number');
      await theirs[1].events.count(4);
      assert.deepEqual(theirs[1].dataOf('number'), [{ number: 1 }, { number: 2 }, { number: 3 }]);
    });

    test('asks for channels and users', async (t) => {
      const library = libraryOf(t);
      const channel = unique('presence-room');
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      await socket.join(apps.main, channel, { user_id: 'ann' });
      const info = 'user_count,subscription_count';
      await answers(library, ['get', '/channels', { filter_by_prefix: channel, info }], {
        channels: { [channel]: { user_count: 1, subscription_count: 1 } },
      });
      const counts = { occupied: true, user_count: 1, subscription_count: 1 };
      await answers(library, ['get', `/channels/${channel}`, { info }], counts);
      await answers(library, ['get', `/channels/${channel}/users`, {}], { users: [{ id: 'ann' }] });
    });

    test('terminates a user’s connections', async (t) => {
      const id = unique('user');
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      await socket.signIn(apps.main, { id });
      await answers(libraryOf(t), ['post', `/users/${id}/terminate_connections`, '{}'], {});
      assert.equal((await socket.closed()).closed, 4009);
    });

    test('its signatures let in to private and presence channels', async (t) => {
      const library = libraryOf(t);
      const socket = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      const [closed, room] = [unique('private-closed'), unique('presence-room')];
      const socketId = await socket.socketId();
      const answers = [
        [closed, await library.call('authenticate', socketId, closed)],
        [room, await library.call('authenticateMember', socketId, room, 'ann', { name: 'Zoë 🚀' })],
      ];
      for (const [channel, text] of answers) {
        socket.send({ event: 'pusher:subscribe', data: { channel, ...JSON.parse(text) } });
        await socket.event('pusher_internal:subscription_succeeded', (frame) => frame.channel === channel);
      }
    });

    test('accepts our webhooks', async (t) => {
      const app = apps.telling;
      const channel = unique('presence-room');
      await (await RawSocket.connect(t, route.subscribeEdge, app)).join(app, channel, { user_id: 'Zoë 🚀' });
      const told = route.receivers.steady.at('/everything');
      const { headers, body } = (await told.event({ name: 'member_added', channel })).request;
      const library = libraryOf(t, app);
      const proof = [headers['x-pusher-key'], headers['x-pusher-signature']];
      assert.equal(await library.call('validateWebhook', ...proof, body), 'VALID');
      assert.equal(await library.call('validateWebhook', ...proof, `${body} `), 'INVALID');
    });

    test('tells refusals apart', async (t) => {
      const refused = async (app, ...call) => {
        const { status, code } = await libraryOf(t, app).call(...call);
        return [status, code];
      };
      const trigger = ['trigger', ['news'], 'event', 'x'];
      assert.deepEqual(await refused({ ...apps.main, secret: 'wrong' }, ...trigger), ['AUTHENTICATION_ERROR', 401]);
      assert.deepEqual(await refused(apps.disabled, ...trigger), ['MESSAGE_QUOTA_EXCEEDED', 403]);
      assert.deepEqual(await refused(apps.main, 'get', '/nothing-here', {}), ['NOT_FOUND', 404]);
    });
  });
}
