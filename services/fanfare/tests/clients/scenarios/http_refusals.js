// Requests of the HTTP API that must be refused, each with its status and an explanation.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps, unknownApp } from '../harness/apps.js';
import { request } from '../harness/http.js';
import { unique } from '../harness/names.js';
import { publisher, refusal } from '../harness/publisher.js';
import { now, signedGet, signedPath, signedPost } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

const WINDOW_SECONDS = 600;
const EMPTY_MD5 = 'd41d8cd98f00b204e9800998ecf8427e';

const event = (rest = {}) => ({ name: 'event', channels: ['refused'], data: 'x', ...rest });
const batched = (rest = {}) => ({ name: 'event', channel: 'refused', data: 'x', ...rest });
const many = (count, make) => Array.from({ length: count }, (_, index) => make(index));

const ENDLESS_BYTES = 64 * 1024 * 1024;

/** A body of that size, in pieces. */
async function* endless() {
  const chunk = Buffer.alloc(64 * 1024, 'x');
  for (let sent = 0; sent < ENDLESS_BYTES; sent += chunk.length) yield chunk;
}

/** Bodies of `POST /events` that are wrong. */
const WRONG_EVENTS = {
  'malformed JSON': '{"name":"event",',
  'no JSON': 'name=event&data=x',
  'nothing after the JSON is allowed': `${JSON.stringify(event())}}`,
  'not UTF-8': Buffer.from([...Buffer.from('{"name":"'), 0xff, ...Buffer.from('","channels":["c"],"data":"x"}')]),
  'an array': [event()],
  null: 'null',
  'deep nesting': '['.repeat(100_000),
  'no name': event({ name: undefined }),
  'a name that is no string': event({ name: 7 }),
  'an empty name': event({ name: '' }),
  'a name of 201 characters': event({ name: 'n'.repeat(201) }),
  'a reserved name': event({ name: 'pusher:subscription_succeeded' }),
  'an internal name': event({ name: 'pusher_internal:member_added' }),
  'no data': event({ data: undefined }),
  'data that is null': event({ data: null }),
  'no channel': event({ channels: undefined }),
  'an empty list of channels': event({ channels: [] }),
  'channels that are no list': event({ channels: 'refused' }),
  'a channel that is no string': event({ channels: [7] }),
  'a channel with a space': event({ channels: ['a b'] }),
  'a channel with a wildcard': event({ channels: ['a.*'] }),
  'an empty channel': event({ channels: [''] }),
  'a channel of 201 characters': event({ channels: ['c'.repeat(201)] }),
  'a socket_id of another form': event({ socket_id: 'mine' }),
  '101 channels': event({ channels: many(101, (index) => `c${index}`) }),
};

/** Bodies of `POST /batch_events` that are wrong. */
const WRONG_BATCHES = {
  'malformed JSON': '{"batch":[',
  'no batch': {},
  'a batch that is no list': { batch: batched() },
  '11 events': { batch: many(11, () => batched()) },
  'one event without a channel': { batch: [batched(), batched({ channel: undefined })] },
  'one event with a bad channel': { batch: [batched(), batched({ channel: 'a b' })] },
};

export function httpRefusals(route) {
  const post = (body, options, app = apps.main) => signedPost(route.publishEdge, app, '/events', body, options);
  const postBatch = (body) => signedPost(route.publishEdge, apps.main, '/batch_events', body);
  const get = (path, options, app = apps.main) => signedGet(route.publishEdge, app, path, options);

  function assertRefused(response, ...statuses) {
    assert.ok(statuses.includes(response.status), `status ${response.status}: ${response.text}`);
    const { error } = response.json();
    assert.ok(typeof error === 'string' && error.length > 0, `no explanation in ${response.text}`);
    assert.ok(!response.text.includes(apps.main.secret), 'the secret is in the answer');
  }

  describe('signatures', () => {
    test('a wrong signature is 401 and does not reveal the right one', async () => {
      const options = { path: `/apps/${apps.main.id}/channels` };
      const right = signedPath(apps.main, options).split('auth_signature=')[1];
      for (const signature of ['0'.repeat(64), '', 'é', right.slice(1), right.toUpperCase()]) {
        const response = await get('/channels', { signature: encodeURIComponent(signature) });
        assertRefused(response, 401);
        assert.ok(!response.text.includes(right));
      }
    });

    test('the library with a wrong secret gets 401', async (t) => {
      const pusher = publisher(t, route.publishEdge, { ...apps.main, secret: 'wrong' });
      assert.equal((await refusal(pusher.trigger('refused', 'event', 'x'))).status, 401);
    });

    test('a timestamp outside the window is 401, inside it is fine', async () => {
      for (const offset of [-WINDOW_SECONDS - 60, WINDOW_SECONDS + 60]) {
        assertRefused(await post(event(), { query: { auth_timestamp: now() + offset } }), 401);
      }
      for (const offset of [-WINDOW_SECONDS + 60, WINDOW_SECONDS - 60]) {
        assert.equal((await post(event(), { query: { auth_timestamp: now() + offset } })).status, 200);
      }
      for (const timestamp of ['', 'soon', '99999999999999999999']) {
        assertRefused(await get('/channels', { query: { auth_timestamp: timestamp } }), 401, 400);
      }
    });

    test('a missing parameter is 401', async () => {
      for (const name of ['auth_key', 'auth_timestamp', 'body_md5']) {
        assertRefused(await post(event(), { query: { [name]: undefined } }), 401);
      }
      assertRefused(await request({ port: route.publishEdge.port, path: `/apps/${apps.main.id}/channels` }), 401);
    });

    test('a body_md5 of something else is 401', async () => {
      for (const md5 of [EMPTY_MD5, '0'.repeat(32), ''])
        assertRefused(await post(event(), { query: { body_md5: md5 } }), 401);
    });

    test('§18.25 a GET with the body_md5 of nothing is fine', async () => {
      assert.equal((await get('/channels', { query: { body_md5: EMPTY_MD5 } })).status, 200);
    });

    test('§18.26 encoded and plain values of parameters sign the same', async () => {
      const path = `/apps/${apps.main.id}/channels`;
      const plain = signedPath(apps.main, { path, query: { filter_by_prefix: 'a,b' } });
      for (const target of [plain, plain.replace('a,b', 'a%2Cb')]) {
        assert.equal((await request({ port: route.publishEdge.port, path: target })).status, 200);
      }
    });

    test('a key of another app is refused', async () => {
      assertRefused(await get('/channels', {}, { ...apps.listing, id: apps.main.id }), 401, 404);
      assertRefused(await get('/channels', {}, { ...apps.main, key: unknownApp.key }), 401, 404);
    });
  });

  describe('refused requests', () => {
    for (const [what, body] of Object.entries(WRONG_EVENTS)) {
      test(`400 for an event: ${what}`, async () => assertRefused(await post(body), 400));
    }

    for (const [what, body] of Object.entries(WRONG_BATCHES)) {
      test(`400 for a batch: ${what}`, async () => assertRefused(await postBatch(body), 400));
    }

    test('one bad channel refuses the whole request', async (t) => {
      const subscription = await (
        await Subscriber.connect(t, route.subscribeEdge, apps.main)
      ).subscribe(unique('whole'));
      assertRefused(await post(event({ channels: [subscription.name, 'a b'] })), 400);
      const batch = [batched({ channel: subscription.name }), batched({ channel: 'a b' })];
      assertRefused(await postBatch({ batch }), 400);
      assert.equal((await post(event({ channels: [subscription.name], name: 'last' }))).status, 200);
      await subscription.event('last');
      assert.equal(subscription.events.items.length, 1);
    });

    for (const [what, headers] of [
      ['announced', { 'content-length': ENDLESS_BYTES }],
      ['chunked', { 'transfer-encoding': 'chunked' }],
    ]) {
      test(`a body without end is 413: ${what}`, async () => {
        const path = signedPath(apps.main, { method: 'POST', path: `/apps/${apps.main.id}/events`, body: 'x' });
        const target = { port: route.publishEdge.port, method: 'POST', path, headers };
        // A server that closes while we still write can take its own answer with it, so one attempt proves nothing.
        const response = await eventually(() => request({ ...target, body: endless() }), 'an answer');
        assertRefused(response, 413);
        assert.equal((await post(event())).status, 200);
      });
    }

    test('a disabled app is 403', async (t) => {
      const pusher = publisher(t, route.publishEdge, apps.disabled);
      assert.equal((await refusal(pusher.trigger('refused', 'event', 'x'))).status, 403);
      assertRefused(await get('/channels', {}, apps.disabled), 403);
    });

    test('an unknown app is 404', async () => {
      assertRefused(await get('/channels', {}, unknownApp), 404);
      assertRefused(await post(event(), {}, unknownApp), 404);
    });

    test('an unknown route is 404', async () => {
      assertRefused(await get('/nothing-here'), 404);
      const paths = ['/', '/apps', '/apps/', `/apps/${apps.main.id}`, '/nothing', '/app', '/app/'];
      for (const path of paths) {
        const { status } = await request({ port: route.publishEdge.port, path });
        assert.ok(status >= 400 && status < 500, `${path} answered ${status}`);
      }
    });

    test('a wrong method is refused', async () => {
      assertRefused(await get('/events'), 405);
    });
  });
}
