// Users who are signed in: signing in, what is sent to them, and being thrown out.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs, userAuth } from '../harness/auth_endpoint.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { userChannel } from '../harness/received.js';
import { signedGet, signedPost } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';

const UNAUTHORIZED = 4009;

export function users(route) {
  let here;
  let there;
  before(() => ([here, there] = [route.subscribeEdge, route.publishEdge]));
  const raw = (t, edge = here) => RawSocket.connect(t, edge, apps.main);
  const publisherOf = (t) => publisher(t, there, apps.main);

  /** A pusher-js that is signed in as `user`. */
  async function signedIn(t, address, user, member) {
    const subscriber = await Subscriber.connect(
      t,
      address,
      apps.main,
      await identifiedAs(t, apps.main, { user, member }),
    );
    await subscriber.signIn();
    return subscriber;
  }

  describe('signing in', () => {
    test('§8 success returns the very user_data that was signed', async (t) => {
      const id = unique('user');
      const data = `{ "id":"${id}", "user_info":{"name":"Zoë 🚀"},"zeros":1.000 }`;
      const socket = await raw(t);
      assert.equal(await socket.signIn(apps.main, data), data);
    });

    test('the same user again succeeds', async (t) => {
      const user = { id: unique('user') };
      const socket = await raw(t);
      await socket.signIn(apps.main, user);
      await socket.beginSignIn(apps.main, user);
      await socket.events('pusher:signin_success', 2);
      await socket.ping();
    });

    test('another user on the same connection is an error, and the first stays', async (t) => {
      const [first, second] = [unique('user'), unique('user')];
      const socket = await raw(t);
      await socket.signIn(apps.main, { id: first });
      await socket.beginSignIn(apps.main, { id: second });
      await socket.event('pusher:error');
      await socket.subscribe(userChannel(first));
      socket.send({ event: 'pusher:subscribe', data: { channel: userChannel(second), auth: '' } });
      await socket.refusalOf(userChannel(second));
      assert.equal(socket.all('pusher:signin_success').length, 1);
    });

    const wrong = {
      'user_data that is not JSON': 'bob',
      'no id': '{"user_info":{}}',
      'an empty id': '{"id":""}',
      'an id that is a number': '{"id":7}',
      'an id that is null': '{"id":null}',
      'an id of 201 characters': `{"id":"${'x'.repeat(201)}"}`,
    };
    for (const [what, user] of Object.entries(wrong)) {
      test(`closed with 4009: ${what}`, async (t) => {
        const socket = await raw(t);
        await socket.beginSignIn(apps.main, user);
        await isThrownOut(socket);
      });
    }

    test('a sign-in without user_data is a frame that is not understood', async (t) => {
      const socket = await raw(t);
      socket.send({ event: 'pusher:signin', data: { auth: 'key:signature' } });
      assert.equal((await socket.event('pusher:error')).data.code, null);
      await socket.ping();
    });

    test('closed with 4009: a wrong signature, one for another socket, none', async (t) => {
      const user = { id: unique('user') };
      const forged = await raw(t);
      await forged.beginSignIn({ ...apps.main, secret: 'wrong' }, user);
      await isThrownOut(forged);
      const [victim, thief] = [await raw(t), await raw(t)];
      thief.send({ event: 'pusher:signin', data: userAuth(apps.main, await victim.socketId(), user) });
      await isThrownOut(thief);
      const bare = await raw(t);
      bare.send({ event: 'pusher:signin', data: { user_data: JSON.stringify(user) } });
      await isThrownOut(bare);
    });

    test('pusher-js with a wrong signature gives up for good', async (t) => {
      const options = await identifiedAs(t, { ...apps.main, secret: 'wrong' }, { user: { id: 'bob' } });
      const subscriber = await Subscriber.connect(t, here, apps.main, options);
      subscriber.pusher.signin();
      await subscriber.error(UNAUTHORIZED);
      await subscriber.gaveUp();
    });

    test('§18.35 who is signed in joins presence channels without channel_data', async (t) => {
      const id = unique('user');
      const channel = unique('presence-room');
      const watcher = await raw(t, there);
      await watcher.join(apps.main, channel, { user_id: 'watcher' });
      const subscriber = await signedIn(t, here, { id, user_info: { name: 'Ann' } });
      const subscription = await subscriber.subscribe(channel);
      const [{ me }] = subscription.noticed('subscription_succeeded');
      assert.deepEqual(me, { id, info: { name: 'Ann' } });
      const { data } = await watcher.event('pusher_internal:member_added');
      assert.deepEqual(JSON.parse(data), { user_id: id, user_info: { name: 'Ann' } });
    });

    test('§6 channel_data wins over the signed-in user', async (t) => {
      const subscriber = await signedIn(t, here, { id: unique('user') }, { user_id: 'other', user_info: 1 });
      const subscription = await subscriber.subscribe(unique('presence-room'));
      await subscription.knows({ other: 1 });
    });
  });

  describe('sending to a user', () => {
    test('§18.13 reaches every connection of the user once, and nobody else', async (t) => {
      const [id, other] = [unique('user'), unique('user')];
      const mine = [await signedIn(t, here, { id }), await signedIn(t, there, { id })];
      const theirs = await signedIn(t, here, { id: other });
      const response = await publisherOf(t).sendToUser(id, 'for-you', { text: 'hello' });
      assert.deepEqual(await response.json(), {});
      for (const user of [id, other]) await publisherOf(t).sendToUser(user, 'last', 0);
      for (const subscriber of mine) {
        await subscriber.userEvents.count(2);
        assert.deepEqual(subscriber.userEvents.items, [
          { event: 'for-you', data: { text: 'hello' } },
          { event: 'last', data: 0 },
        ]);
      }
      await theirs.userEvents.count(1);
      assert.deepEqual(theirs.userEvents.items, [{ event: 'last', data: 0 }]);
    });

    test('works by POST /events and by a batch, and the data is byte-exact', async (t) => {
      const id = unique('user');
      const channel = userChannel(id);
      const socket = await raw(t);
      await socket.signIn(apps.main, { id });
      await socket.subscribe(channel);
      const text = '{ "a" : 1.000 }';
      const pusher = publisherOf(t);
      await pusher.post({ path: '/events', body: { name: 'one', channel, data: text } });
      await pusher.triggerBatch([{ channel, name: 'two', data: text }]);
      const frame = await socket.event('two');
      assert.deepEqual([frame.channel, frame.data], [channel, text]);
      assert.deepEqual(
        socket.all('one').map(({ data }) => data),
        [text],
      );
    });

    test('§18.36 the channel of a user is refused to everybody else', async (t) => {
      const id = unique('user');
      const channel = userChannel(id);
      const [nobody, somebody] = [await raw(t), await raw(t)];
      await somebody.signIn(apps.main, { id: unique('user') });
      for (const socket of [nobody, somebody]) {
        socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
        const { type, status } = await socket.refusalOf(channel);
        assert.deepEqual([type, status], ['AuthError', 401]);
      }
      const owner = await signedIn(t, here, { id });
      await publisherOf(t).sendToUser(id, 'secret', 1);
      await owner.userEvents.count(1);
      for (const socket of [nobody, somebody]) {
        await socket.ping();
        assert.deepEqual(socket.all('secret'), []);
      }
    });

    test('§7 clients cannot send events there', async (t) => {
      const id = unique('user');
      const channel = userChannel(id);
      const [sender, other] = [await raw(t), await raw(t)];
      for (const socket of [sender, other]) {
        await socket.signIn(apps.main, { id });
        await socket.subscribe(channel);
      }
      sender.send({ event: 'client-hello', channel, data: 1 });
      await sender.event('pusher:error');
      await publisherOf(t).sendToUser(id, 'last', 1);
      await other.event('last');
      assert.deepEqual(other.all('client-hello'), []);
    });

    test('§8 the HTTP API does not list it', async (t) => {
      const id = unique('user');
      await signedIn(t, here, { id });
      const query = { filter_by_prefix: '#server' };
      const { text } = await signedGet(here, apps.main, '/channels');
      assert.ok(!text.includes(id), text);
      assert.ok(!(await signedGet(here, apps.main, '/channels', { query })).text.includes(id));
    });

    test('after a reconnect pusher-js is signed in again', async (t) => {
      const id = unique('user');
      const door = await FrontDoor.open(t, here);
      const subscriber = await signedIn(t, door, { id });
      door.cut();
      door.leadTo(there);
      await subscriber.signedIn(2);
      await publisherOf(t).sendToUser(id, 'for-you', 1);
      assert.deepEqual(await subscriber.userEvents.count(1), [{ event: 'for-you', data: 1 }]);
    });
  });

  describe('terminating a user’s connections', () => {
    test('§8 closes all that are signed in as the user, on every edge, and only those', async (t) => {
      const id = unique('user');
      const channel = unique('presence-room');
      const member = await raw(t);
      await member.join(apps.main, channel, { user_id: id });
      const mine = [await signedIn(t, here, { id }), await signedIn(t, there, { id })];
      const theirs = await signedIn(t, here, { id: unique('user') });
      const response = await publisherOf(t).terminateUserConnections(id);
      assert.equal(response.status, 200);
      assert.deepEqual(await response.json(), {});
      for (const subscriber of mine) {
        await subscriber.error(UNAUTHORIZED);
        await subscriber.gaveUp();
      }
      await member.ping();
      await theirs.subscribe(unique('news'));
      assert.deepEqual(theirs.states.items, ['connected']);
    });

    test('the user may come back', async (t) => {
      const id = unique('user');
      const gone = await signedIn(t, here, { id });
      await publisherOf(t).terminateUserConnections(id);
      await gone.gaveUp();
      const back = await signedIn(t, here, { id });
      await publisherOf(t).sendToUser(id, 'for-you', 1);
      await back.userEvents.count(1);
    });

    test('an unknown user is 200 {}, also with characters that need encoding', async () => {
      for (const id of [unique('nobody'), 'a,b;c=d@e.f', 'a%2Cb']) {
        const answer = await signedPost(there, apps.main, `/users/${id}/terminate_connections`, {});
        assert.deepEqual([answer.status, answer.json()], [200, {}], id);
      }
    });

    test('protocol 5 is told by an event, too', async (t) => {
      const id = unique('user');
      const socket = await RawSocket.connect(t, here, apps.main, { protocol: 5 });
      await socket.signIn(apps.main, { id });
      await publisherOf(t).terminateUserConnections(id);
      assert.equal((await socket.closed()).closed, UNAUTHORIZED);
      assert.deepEqual(
        socket.all('pusher:error').map(({ data }) => data.code),
        [UNAUTHORIZED],
      );
    });
  });
}

/** Waits until a connection is told 4009 and closed with it. */
async function isThrownOut(socket) {
  assert.equal((await socket.event('pusher:error')).data.code, UNAUTHORIZED);
  assert.equal((await socket.closed()).closed, UNAUTHORIZED);
}
