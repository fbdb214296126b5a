// Tokens that are taken back, on every node at once.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { UNKNOWN_OUTCOME, answerOf, failure } from '../../harness/ably/client.js';
import { callback, jwt } from '../../harness/ably/credentials.js';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';
import { eventually, inTime } from '../../harness/wait.js';

const APP = withKey(apps.ably, '1050.revocable');
/** From the answer to the last node: it has to be known everywhere in a second. */
const SOON_MS = 1_500;

/** Revokes, and answers what is said of each target; what is left open is told by the target. */
const revoke = (rest, ...words) =>
  answerOf(async () => {
    const answer = await rest.auth.revokeTokens(...words);
    const error = answer.results.find((result) => result.error?.code === UNKNOWN_OUTCOME)?.error;
    if (error) throw error;
    return answer;
  });

export function revocation(way) {
  describe('revocation', () => {
    test('of one client: its connections end, on whatever node, and others stay', async (t) => {
      const rest = await way.rest(t, APP);
      const tokenOf = (clientId) => jwt(APP, { clientId });
      const connect = (clientId, where) => way.connect(t, APP, { token: tokenOf(clientId) }, where);
      const other = await connect(unique('good'));
      const { token } = await inTime(SOON_MS, 'ending the connections', async () => {
        const bad = unique('bad');
        const clients = await Promise.all(way.site.edges.map((edge) => connect(bad, edge)));
        const token = tokenOf(bad);
        const { successCount, results } = await revoke(rest, [{ type: 'clientId', value: bad }]);
        const begun = performance.now();
        assert.equal(successCount, 1);
        assert.equal(results[0].target, `clientId:${bad}`);
        assert.ok(results[0].appliesAt >= results[0].issuedBefore - 1_000);
        for (const client of clients) {
          const { reason } = await client.became('failed');
          // Without means to renew it, ably-js reports a token error as 40171.
          assert.ok([40141, 40171].includes(reason.code), `${reason.code}`);
        }
        return { tookMs: performance.now() - begun, token };
      });
      for (const edge of way.site.edges) {
        const answer = await fetch(`http://${edge.host}:${edge.port}/channels/a/messages`, {
          headers: { authorization: `Bearer ${Buffer.from(token).toString('base64')}` },
        });
        assert.deepEqual([answer.status, answer.headers.get('x-ably-errorcode')], [401, '40141'], edge.name);
      }
      assert.equal(other.connection.state, 'connected');
      await other.connection.ping();
    });

    test('who can renew is back', async (t) => {
      const clientId = unique('client');
      const authCallback = callback(() => jwt(APP, { clientId, seconds: 600 }));
      const client = await way.connect(t, APP, { authCallback });
      // A JWT says when it was issued in whole seconds.
      await eventually(() => Date.now() % 1000 < 200, 'the next second');
      const rest = await way.rest(t, APP);
      await revoke(rest, [{ type: 'clientId', value: clientId }], { issuedBefore: Date.now() - 1 });
      const { reason } = await client.became('disconnected');
      assert.deepEqual([reason.code, reason.statusCode], [40141, 401]);
      await client.became('connected', 2);
    });

    test('by key and by channel', async (t) => {
      const rest = await way.rest(t, APP);
      const [key, channel] = [unique('key'), unique('channel')];
      const byKey = await way.connect(t, APP, { token: jwt(APP, { 'x-ably-revocation-key': key }) });
      const byChannel = await way.connect(t, APP, { token: jwt(APP, { capability: { [channel]: ['subscribe'] } }) });
      const result = await revoke(rest, [
        { type: 'revocationKey', value: key },
        { type: 'channel', value: channel },
        { type: 'nonsense', value: 'x' },
      ]);
      assert.deepEqual([result.successCount, result.failureCount], [2, 1]);
      await Promise.all([byKey.became('failed'), byChannel.became('failed')]);
    });

    test('who may not', async (t) => {
      const targets = [{ type: 'clientId', value: 'x' }];
      const other = await way.rest(t, apps.ably);
      assert.equal((await failure(other.auth.revokeTokens(targets))).code, 40163);
      const withToken = await way.rest(t, APP, { token: jwt(APP) });
      const body = { targets: ['clientId:x'] };
      const path = `/keys/${APP.key}/revokeTokens`;
      assert.equal((await withToken.request('POST', path, 6, null, body)).errorCode, 40162);
      assert.equal((await other.request('POST', path, 6, null, body)).errorCode, 40133);
      const rest = await way.rest(t, APP);
      const future = { ...body, issuedBefore: Date.now() + 3_600_000 };
      assert.equal((await rest.request('POST', path, 6, null, future)).statusCode, 400);
    });
  });
}
