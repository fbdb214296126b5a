// Tokens: how they are made, how long they are good for, and how they are renewed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { answerOf, failure } from '../../harness/ably/client.js';
import { callback, jwt, keyOf } from '../../harness/ably/credentials.js';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
/** A token's life where its end is waited for. */
const SHORT_MS = 10_000;

/** A new token; each request has a nonce of its own, which is noted in NATS. */
const tokenOf = (rest, params) => answerOf(() => rest.auth.requestToken(params));

export function tokens(way) {
  describe('tokens', () => {
    test('requestToken answers with what was asked for', async (t) => {
      const rest = await way.rest(t, APP);
      const capability = { 'a:*': ['subscribe', 'publish'] };
      const token = await tokenOf(rest, {
        clientId: 'bob',
        ttl: 5_000,
        capability: JSON.stringify(capability),
      });
      assert.equal(token.clientId, 'bob');
      assert.equal(token.keyName, APP.key);
      assert.equal(token.expires - token.issued, 5_000);
      assert.equal(token.capability, '{"a:*":["publish","subscribe"]}');
      assert.ok(token.token.startsWith(`${APP.id}.`) && token.token.length <= 343);
      const defaults = await tokenOf(rest);
      assert.equal(defaults.expires - defaults.issued, 3_600_000);
      assert.deepEqual(JSON.parse(defaults.capability), { '*': ['*'], '[*]*': ['*'] });
    });

    test('a signed request is as good as the key, once', async (t) => {
      const rest = await way.rest(t, APP);
      let request;
      const keyless = await way.rest(t, APP, { authCallback: callback(() => request) });
      const token = await answerOf(async () => {
        request = await rest.auth.createTokenRequest({ clientId: 'Jürgen ☃' });
        return keyless.auth.requestToken();
      });
      assert.equal(token.clientId, 'Jürgen ☃');
      assert.equal((await failure(tokenOf(keyless))).code, 40105);
    });

    test('what is refused', async (t) => {
      const rest = await way.rest(t, APP);
      const refused = async (params, code, statusCode) => {
        const error = await failure(rest.auth.requestToken(params));
        assert.deepEqual([error.code, error.statusCode], [code, statusCode], JSON.stringify(params));
      };
      await refused({ ttl: 24 * 3_600_000 + 1 }, 40003, 400);
      await refused({ timestamp: Date.now() - 20 * 60_000 }, 40104, 401);
      await refused({ capability: '{"a":["fly"]}' }, 40000, 400);
      const request = await rest.auth.createTokenRequest();
      const forged = { ...request, mac: Buffer.from('nonsense').toString('base64') };
      const answer = await rest.request('POST', `/keys/${request.keyName}/requestToken`, 6, null, forged, null);
      assert.deepEqual([answer.statusCode, answer.errorCode], [401, 40101]);
      const listener = await way.rest(t, withKey(APP, '1050.listen'));
      assert.equal((await failure(listener.auth.requestToken({ capability: '{"a":["publish"]}' }))).code, 40160);
    });

    test('tokens of either kind let in, with their clientId and capability', async (t) => {
      const rest = await way.rest(t, APP);
      const made = await tokenOf(rest, { clientId: 'bob', capability: { 'a:*': ['subscribe'] } });
      for (const token of [made.token, jwt(APP, { clientId: 'bob', capability: { 'a:*': ['subscribe'] } })]) {
        const client = await way.connect(t, APP, { token });
        assert.equal(client.realtime.auth.clientId, 'bob');
        await client.subscribe('a:b');
        assert.equal((await failure(client.channel('b').channel.attach())).code, 40160);
        const reader = await way.rest(t, APP, { token });
        assert.equal((await failure(reader.channels.get('a:b').publish('x', ''))).code, 40160);
      }
    });

    test('a JWT may carry another token', async (t) => {
      const inner = await tokenOf(await way.rest(t, APP), { clientId: 'inner' });
      const client = await way.connect(t, APP, { token: jwt(APP, { 'x-ably-token': inner.token }) });
      assert.equal(client.realtime.auth.clientId, 'inner');
    });

    const bad = {
      'an expired JWT': [() => jwt(APP, { seconds: -1 }), 401, 40142],
      'a JWT signed by somebody else': [() => jwt(APP, { secret: 'guess' }), 401, 40144],
      'a JWT of a key that nobody has': [() => jwt(APP, { keyName: `${APP.id}.nobody` }), 404, 40400],
      'a token that is none': [() => `${APP.id}.nonsense`, 401, 40145],
    };
    for (const [title, [token, status, code]] of Object.entries(bad)) {
      test(`${title} does not let in`, async (t) => {
        const client = await way.begin(t, APP, { token: token() });
        const { reason } = await client.became('failed');
        // Without means to renew it, ably-js reports a token error as 40171.
        assert.equal(reason.code, status === 401 ? 40171 : code);
        const { host, port } = await way.door(t);
        const authorization = `Bearer ${Buffer.from(token()).toString('base64')}`;
        const answer = await fetch(`http://${host}:${port}/channels/a/messages`, { headers: { authorization } });
        assert.deepEqual([answer.status, (await answer.json()).error.code], [status, code]);
      });
    }

    test('an authCallback may answer with a request, a token or a JWT', async (t) => {
      const rest = await way.rest(t, APP);
      const answers = [
        () => rest.auth.createTokenRequest({ clientId: 'bob' }),
        () => tokenOf(rest, { clientId: 'bob' }),
        () => jwt(APP, { clientId: 'bob' }),
      ];
      for (const make of answers) {
        const client = await way.connect(t, APP, { authCallback: callback(make) });
        assert.equal(client.realtime.auth.clientId, 'bob');
      }
    });

    test('at its end the connection is told, renews, resumes and misses nothing', async (t) => {
      const rest = await way.rest(t, APP);
      const authCallback = callback(() => tokenOf(rest, { clientId: 'bob', ttl: SHORT_MS }));
      const client = await way.connect(t, APP, { authCallback });
      const channel = await client.subscribe(unique('renewed'));
      await channel.channel.presence.enter('here');
      const { id } = client;
      const watcher = await (await way.connect(t, APP)).channel(channel.name).watch();
      await watcher.knows({ bob: 'here' });
      const { reason } = await client.became('disconnected');
      assert.deepEqual([reason.code, reason.statusCode], [40142, 401]);
      await rest.channels.get(channel.name).publish('meanwhile', '');
      await client.became('connected', 2);
      assert.equal(client.id, id);
      assert.ok(authCallback.calls >= 2);
      await channel.message('meanwhile');
      const marker = await way.connect(t, APP, { clientId: 'marker' });
      await marker.channel(channel.name).channel.presence.enter();
      await watcher.event('enter', 'marker');
      const ofBob = watcher.presence.items.filter(({ clientId, action }) => clientId === 'bob' && action !== 'present');
      assert.deepEqual(
        ofBob.map(({ action }) => action),
        [],
        'nobody saw it leave or enter',
      );
    });

    test('without means to renew it, the end is final', async (t) => {
      const { token } = await tokenOf(await way.rest(t, APP), { ttl: SHORT_MS });
      const client = await way.connect(t, APP, { token });
      const { reason } = await client.became('failed');
      assert.equal(reason.code, 40171);
    });

    test('a renewal of the same connection: asked for by the client', async (t) => {
      const authCallback = callback(() => jwt(APP, { clientId: 'bob' }));
      const client = await way.connect(t, APP, { authCallback });
      const { id } = client;
      await client.realtime.auth.authorize();
      await client.became('update');
      assert.deepEqual([client.id, client.connection.state], [id, 'connected']);
    });

    test('somebody else cannot take the connection over', async (t) => {
      let clientId = 'bob';
      const client = await way.connect(t, APP, { authCallback: callback(() => jwt(APP, { clientId })) });
      clientId = 'eve';
      const error = await failure(client.realtime.auth.authorize());
      assert.ok([40102, 40012].includes(error.code), `${error.code}`);
    });

    test('a key in the query is good for REST', async (t) => {
      const door = await way.door(t);
      const url = `http://${door.host}:${door.port}/channels/a/messages?key=${encodeURIComponent(keyOf(APP))}`;
      assert.equal((await fetch(url)).status, 200);
    });
  });
}
