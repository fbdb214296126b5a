// Opening and closing connections, and who is let in.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { keyOf } from '../../harness/ably/credentials.js';
import { apps, unknownApp, withKey } from '../../harness/apps.js';
import { PATIENCE_MS, once } from '../../harness/wait.js';

/** The server is never silent for longer. */
const IDLE_MS = 15_000;

export function connecting(way) {
  describe('connecting', () => {
    test('a key is let in and told about its connection', async (t) => {
      const client = await way.connect(t, apps.ably);
      const { connectionManager, id, key } = client.connection;
      assert.match(id, /^[\w-]{8,}$/);
      assert.ok(key.startsWith(id), key);
      assert.ok(client.connection.createRecoveryKey());
      const details = connectionManager.connectionDetails;
      assert.equal(details.maxMessageSize, 65_536);
      assert.equal(details.maxFrameSize, 262_144);
      assert.equal(details.connectionStateTtl, 120_000);
      assert.equal(details.maxIdleInterval, IDLE_MS);
      assert.equal(details.clientId, '*', 'a key may act as anyone');
      assert.equal(typeof details.serverId, 'string');
    });

    test('ping is answered', async (t) => {
      const client = await way.connect(t, apps.ably);
      assert.ok((await client.connection.ping()) >= 0);
    });

    test('close is confirmed, and connecting again makes another connection', async (t) => {
      const client = await way.connect(t, apps.ably);
      const first = client.id;
      await client.close();
      client.realtime.connect();
      await client.became('connected', 2);
      assert.notEqual(client.id, first);
    });

    test('a clientId is confirmed', async (t) => {
      const client = await way.connect(t, apps.ably, { clientId: 'Zoë' });
      assert.equal(client.realtime.auth.clientId, 'Zoë');
    });

    test('every protocol version of the SDKs in use is let in', async (t) => {
      for (const v of ['1.2', '2', '5', '6']) {
        await (await way.connect(t, apps.ably, { transportParams: { v } })).close();
      }
    });

    test('unknown parameters are nothing to it', async (t) => {
      await way.connect(t, apps.ably, {
        transportParams: { remainPresentFor: '1000', rnd: '7', stream: 'x', agent: 'y' },
      });
    });

    const refusals = {
      'a wrong secret': [() => `${keyOf(apps.ably)}x`, 40101, 401],
      'a key that nobody has': [() => keyOf({ ...apps.ably, key: 'nobody' }), 40101, 401],
      'an app that there is not': [() => keyOf(unknownApp), 40101, 401],
      'an app that is disabled': [() => keyOf(apps.disabled), 40120, 401],
    };
    for (const [title, [key, code, statusCode]] of Object.entries(refusals)) {
      test(`${title} ends it for good`, async (t) => {
        const client = await way.begin(t, apps.ably, { key: key() });
        const { reason } = await client.became('failed');
        assert.deepEqual([reason.code, reason.statusCode], [code, statusCode]);
        assert.equal(reason.href, `https://help.ably.io/error/${code}`);
      });
    }

    test('a clientId of * is refused', async (t) => {
      const client = await way.begin(t, apps.ably, { transportParams: { clientId: '*' } });
      const { reason } = await client.became('failed');
      assert.equal(reason.code, 40012);
    });

    test('any key of the app is as good', async (t) => {
      const client = await way.connect(t, withKey(apps.ably, '1050.listen'));
      const channel = await client.subscribe('anything');
      const error = await failure(channel.channel.publish('a', 'b'));
      assert.deepEqual([error.code, error.statusCode], [40160, 401]);
    });

    test('where nothing happens, a heartbeat comes in time for who asked for it', { timeout: 300_000 }, async (t) => {
      const client = await way.connect(t, apps.ably, { transportParams: { heartbeats: 'true' } });
      const { transport } = client.connection.connectionManager.activeProtocol;
      await once(transport, 'heartbeat', 'a heartbeat', IDLE_MS + PATIENCE_MS);
    });
  });
}
