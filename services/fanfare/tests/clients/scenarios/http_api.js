// What the HTTP API answers about channels and users, and the habits of the libraries that ask.

import assert from 'node:assert/strict';
import { Agent, request as httpRequest } from 'node:http';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { request } from '../harness/http.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { signedGet, signedPath, signedPost } from '../harness/signed_request.js';
import { eventually, within } from '../harness/wait.js';

const EMPTY_MD5 = 'd41d8cd98f00b204e9800998ecf8427e';

export function httpApi(route) {
  const app = apps.main;
  const get = (path, query = {}, edge = route.publishEdge) => signedGet(edge, app, path, { query });
  const post = (path, body) => signedPost(route.publishEdge, app, path, body);

  /** Counts may lag by moments: waits until the answer is this one, with status 200. */
  async function answers(path, query, expected, ask = get) {
    let last;
    const right = async () => {
      last = await ask(path, query);
      assert.deepEqual([last.status, last.json()], [200, expected]);
      return true;
    };
    await eventually(right, `${path} to answer ${JSON.stringify(expected)}`).catch((error) => {
      error.message += `\n  it answered ${last?.status} ${last?.text}`;
      throw error;
    });
  }

  /** Somebody on a presence channel at the subscribing edge. */
  async function member(t, channel, id) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, app);
    await socket.join(app, channel, { user_id: id });
    return socket;
  }

  async function subscriber(t, channel) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, app);
    await socket.subscribe(channel);
    return socket;
  }

  describe('the users of a channel', () => {
    test('§11 are distinct, and their ids strings', async (t) => {
      const channel = unique('presence-room');
      for (const id of ['ann', 10, 'ann']) await member(t, channel, id);
      const isRight = async () => {
        const { users } = (await get(`/channels/${channel}/users`)).json();
        assert.deepEqual(users.map(({ id }) => id).sort(), ['10', 'ann']);
        return true;
      };
      await eventually(isRight, 'both users');
    });

    test('none on an empty presence channel; 400 on another kind', async () => {
      await answers(`/channels/${unique('presence-room')}/users`, {}, { users: [] });
      for (const channel of ['open', 'private-closed', 'my-presence-room', 'cache-last']) {
        assert.equal((await get(`/channels/${channel}/users`)).status, 400, channel);
      }
    });

    test('§18.25 asked with the body_md5 of nothing', async () => {
      const path = `/channels/${unique('presence-room')}/users`;
      await answers(path, { body_md5: EMPTY_MD5 }, { users: [] });
    });
  });

  describe('counts', () => {
    test('user_count counts users, subscription_count connections', async (t) => {
      const prefix = unique('presence-count');
      const [one, two] = [`${prefix}-one`, `${prefix}-two`];
      await Promise.all([member(t, one, 'ann'), member(t, one, 'ann'), member(t, one, 'bob'), member(t, two, 'ann')]);
      const info = 'user_count,subscription_count';
      await answers(`/channels/${one}`, { info }, { occupied: true, user_count: 2, subscription_count: 3 });
      await answers(
        '/channels',
        { filter_by_prefix: prefix, info },
        {
          channels: {
            [one]: { user_count: 2, subscription_count: 3 },
            [two]: { user_count: 1, subscription_count: 1 },
          },
        },
      );
    });

    test('§18.26 the comma of info may be encoded, and is signed decoded', async (t) => {
      const channel = unique('presence-room');
      await member(t, channel, 'ann');
      const query = { info: 'user_count,subscription_count' };
      const encoded = (path) =>
        request({
          port: route.publishEdge.port,
          path: signedPath(app, { path: `/apps/${app.id}${path}`, query }).replace(/,/g, '%2C'),
        });
      await answers(`/channels/${channel}`, {}, { occupied: true, user_count: 1, subscription_count: 1 }, encoded);
    });

    test('user_count without a presence prefix is 400', async () => {
      for (const query of [{}, { filter_by_prefix: 'private-' }, { filter_by_prefix: 'presenc' }]) {
        assert.equal((await get('/channels', { ...query, info: 'user_count' })).status, 400, JSON.stringify(query));
      }
      assert.equal((await get('/channels/open', { info: 'user_count' })).status, 400);
    });

    test('unknown attributes are ignored', async (t) => {
      const channel = unique('open');
      await subscriber(t, channel);
      await answers(
        `/channels/${channel}`,
        { info: 'weather,subscription_count' },
        { occupied: true, subscription_count: 1 },
      );
    });

    test('§18.23 §18.49 a vacant channel: objects, not lists, and not occupied as soon as it is empty', async (t) => {
      const channel = unique('presence-room');
      await answers('/channels', { filter_by_prefix: channel }, { channels: {} });
      await answers(`/channels/${channel}`, {}, { occupied: false });
      const socket = await member(t, channel, 'ann');
      await answers(`/channels/${channel}`, {}, { occupied: true });
      socket.ws.close();
      await answers(`/channels/${channel}`, {}, { occupied: false });
    });
  });

  describe('info with events', () => {
    test('§11 tells of each channel that was published to', async (t) => {
      const [open, presence, empty] = [unique('open'), unique('presence-room'), unique('empty')];
      await Promise.all([subscriber(t, open), member(t, presence, 'ann'), member(t, presence, 'bob')]);
      const info = 'user_count,subscription_count';
      const event = { name: 'event', channels: [open, presence, empty], data: 'x', info };
      const ask = () => post('/events', event);
      const channels = {
        [open]: { subscription_count: 1 },
        [presence]: { user_count: 2, subscription_count: 2 },
        [empty]: { subscription_count: 0 },
      };
      await answers('/events', {}, { channels }, ask);
    });

    test('§11 a batch answers by index, and {} for who did not ask', async (t) => {
      const [open, presence] = [unique('open'), unique('presence-room')];
      await Promise.all([subscriber(t, open), member(t, presence, 'ann')]);
      const batch = [
        { channel: open, name: 'event', data: 'x', info: 'subscription_count' },
        { channel: open, name: 'event', data: 'x' },
        { channel: presence, name: 'event', data: 'x', info: 'user_count' },
      ];
      const expected = { batch: [{ subscription_count: 1 }, {}, { user_count: 1 }] };
      await answers('/batch_events', {}, expected, () => post('/batch_events', { batch }));
      const [, plain] = batch;
      await answers('/batch_events', {}, {}, () => post('/batch_events', { batch: [plain] }));
    });
  });

  describe('what libraries expect', () => {
    test('§18.22 §18.24 success is 200 with a JSON object, {} where there is nothing to tell', async () => {
      const event = { name: 'event', channels: ['open'], data: 'x' };
      const batch = { batch: [{ name: 'event', channel: 'open', data: 'x' }] };
      for (const [path, body] of [
        ['/events', event],
        ['/batch_events', batch],
        [`/users/${unique('user')}/terminate_connections`, {}],
      ]) {
        const { status, headers, text } = await post(path, body);
        assert.deepEqual([status, text], [200, '{}'], path);
        assert.match(headers['content-type'], /^application\/json/);
      }
    });

    test('§11 the path of the Python library for terminating, without /apps', async (t) => {
      const id = unique('user');
      const socket = await RawSocket.connect(t, route.subscribeEdge, app);
      await socket.signIn(app, { id });
      const terminate = (signer, signature) => {
        const path = signedPath(signer, {
          method: 'POST',
          path: `/users/${id}/terminate_connections`,
          body: '{}',
          signature,
        });
        return request({ port: route.publishEdge.port, method: 'POST', path, body: '{}' });
      };
      assert.equal((await terminate(app, '0'.repeat(64))).status, 401);
      assert.equal((await terminate({ ...app, key: 'unknown' })).status, 401);
      await socket.ping();
      const { status, text } = await terminate(app);
      assert.deepEqual([status, text], [200, '{}']);
      assert.equal((await socket.closed()).closed, 4009);
    });

    test('§18.27 a prefix before /apps is not part of what is signed', async (t) => {
      const socket = await subscriber(t, unique('open'));
      const channel = socket.frames.at(-1).channel;
      const body = JSON.stringify({ name: 'prefixed', channel, data: 'x' });
      const path = signedPath(app, { method: 'POST', path: `/apps/${app.id}/events`, body });
      const { status } = await request({
        port: route.publishEdge.port,
        method: 'POST',
        path: `/realtime/v1${path}`,
        body,
      });
      assert.equal(status, 200);
      await socket.event('prefixed');
    });

    test('names with ; = @ , . arrive raw or percent-encoded', async (t) => {
      const channel = `${unique('presence-odd')};=@,.`;
      await member(t, channel, 'ann');
      for (const name of [channel, encodeURIComponent(channel)]) {
        await answers(`/channels/${name}/users`, {}, { users: [{ id: 'ann' }] });
      }
    });

    test('one connection serves many requests', async (t) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      t.after(() => agent.destroy());
      const ask = () =>
        new Promise((resolve, reject) => {
          const path = signedPath(app, { path: `/apps/${app.id}/channels` });
          const outgoing = httpRequest({ port: route.publishEdge.port, path, agent }, (incoming) => {
            incoming.resume().once('end', () => resolve([incoming.statusCode, outgoing.reusedSocket]));
          });
          outgoing.once('error', reject).end();
        });
      assert.deepEqual(await within(ask(), 'an answer'), [200, false]);
      for (let round = 0; round < 3; round += 1) assert.deepEqual(await within(ask(), 'an answer'), [200, true]);
    });

    test('§11 channel and channels, with and without each other', async (t) => {
      const socket = await subscriber(t, unique('open'));
      const channel = socket.frames.at(-1).channel;
      const bodies = [{ channel }, { channels: [channel] }];
      for (const body of bodies)
        assert.equal((await post('/events', { ...body, name: 'event', data: 'x' })).status, 200);
      await socket.events('event', 2);
    });

    test('§13 events published through HTTP carry no user_id, whatever their name', async (t) => {
      const channel = unique('presence-room');
      const socket = await member(t, channel, 'ann');
      await publisher(t, route.publishEdge, app).trigger(channel, 'client-like', 'x');
      assert.ok(!('user_id' in (await socket.event('client-like'))));
    });
  });
}
