// REST beside channels: time, stats, errors, and what browsers need.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { keyOf } from '../../harness/ably/credentials.js';
import { apps, withKey } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';
import { eventually } from '../../harness/wait.js';

const APP = apps.ably;
/** Statistics are kept by the minute and written every few seconds. */
const STATS_MS = 120_000;

export function rest(way) {
  const plain = async (t) => {
    const { host, port } = await way.door(t);
    const authorization = `Basic ${Buffer.from(keyOf(APP)).toString('base64')}`;
    return (path, { headers, ...options } = {}) =>
      fetch(`http://${host}:${port}${path}`, { ...options, headers: { authorization, ...headers } });
  };

  describe('REST', () => {
    test('time', async (t) => {
      assert.ok(Math.abs((await (await way.rest(t, APP)).time()) - Date.now()) < 60_000);
    });

    test('errors: body and headers agree, in the format asked for', async (t) => {
      const fetch = await plain(t);
      for (const [accept, type] of [
        ['application/json', 'application/json'],
        ['application/x-msgpack', 'application/x-msgpack'],
      ]) {
        const answer = await fetch('/channels/a/nothing', { headers: { accept } });
        assert.equal(answer.status, 404);
        assert.equal(answer.headers.get('content-type'), type);
        assert.equal(answer.headers.get('x-ably-errorcode'), '40400');
        assert.ok(answer.headers.get('x-ably-errormessage'));
      }
      const wrong = await fetch('/time', { method: 'DELETE' });
      assert.deepEqual([wrong.status, (await wrong.json()).error.code], [405, 40500]);
      const { host, port } = await way.door(t);
      const nobody = await globalThis.fetch(`http://${host}:${port}/channels/a/messages`);
      const { error } = await nobody.json();
      assert.deepEqual([nobody.status, error.code, error.statusCode], [401, 40101, 401]);
      assert.equal(error.href, 'https://help.ably.io/error/40101');
      const broken = await fetch('/channels/a/messages', {
        method: 'POST',
        body: '{',
        headers: { 'content-type': 'application/json' },
      });
      assert.deepEqual([broken.status, (await broken.json()).error.code], [400, 40001]);
    });

    test('envelopes, for who cannot read headers', async (t) => {
      const fetch = await plain(t);
      const answer = await fetch('/channels/a/nothing?envelope=json');
      assert.equal(answer.status, 200);
      const { statusCode, response } = await answer.json();
      assert.deepEqual([statusCode, response.error.code], [404, 40400]);
    });

    test('forms and bare bodies can be published', async (t) => {
      const fetch = await plain(t);
      const channel = await (await way.connect(t, APP)).subscribe(unique('forms'));
      const path = `/channels/${channel.name}/messages`;
      const form = await fetch(path, { method: 'POST', body: new URLSearchParams({ name: 'form', data: 'a b&c' }) });
      assert.equal(form.status, 201);
      assert.deepEqual(Object.keys(await form.json()).sort(), ['channel', 'messageId', 'serials']);
      assert.equal((await channel.message('form')).data, 'a b&c');
      await fetch(`${path}?enveloped=false`, {
        method: 'POST',
        body: 'bare',
        headers: { 'content-type': 'text/plain', 'x-ably-name': 'bare' },
      });
      assert.equal((await channel.message('bare')).data, 'bare');
    });

    test('pages of other origins may use it', async (t) => {
      const fetch = await plain(t);
      const asked = await fetch('/channels/a/messages', {
        method: 'OPTIONS',
        headers: {
          origin: 'https://app.example.com',
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,x-ably-version,ably-agent',
        },
      });
      assert.ok(asked.ok, `${asked.status}`);
      const allowed = asked.headers.get('access-control-allow-headers').toLowerCase();
      for (const header of ['authorization', 'content-type', 'x-ably-version', 'ably-agent', 'x-ably-clientid']) {
        assert.ok(allowed.includes(header), header);
      }
      const answer = await fetch('/time', { headers: { origin: 'https://app.example.com' } });
      assert.ok(['*', 'https://app.example.com'].includes(answer.headers.get('access-control-allow-origin')));
      assert.match(answer.headers.get('access-control-expose-headers'), /link/i);
    });

    test('push and objects are not offered', async (t) => {
      const client = await way.rest(t, APP);
      for (const path of ['/push/deviceRegistrations', '/channels/a/objects']) {
        const answer = await client.request('GET', path, 6);
        assert.ok(answer.statusCode >= 400 && answer.errorCode > 0, `${path}: ${answer.statusCode}`);
      }
    });
  });

  describe('stats', () => {
    test('count what was published and delivered', { timeout: 2 * STATS_MS }, async (t) => {
      const app = apps.ablyCounted;
      const client = await way.connect(t, app);
      const channel = await client.subscribe(unique('counted'));
      for (let count = 0; count < 5; count += 1) await channel.channel.publish('n', 'some data');
      await channel.received(5);
      const server = await way.rest(t, app);
      await eventually(
        async () => {
          // An hour may have begun since the first of them.
          const { items } = await server.stats({ unit: 'hour', limit: 2 });
          const sum = (name) => items.reduce((total, { entries }) => total + (entries[name] ?? 0), 0);
          const counts = ['inbound', 'outbound'].map((way) => sum(`messages.${way}.all.messages.count`));
          return counts.every((count) => count >= 5);
        },
        'the messages to be counted',
        STATS_MS,
      );
      for (const unit of ['minute', 'hour', 'day', 'month']) {
        const { items } = await server.stats({ unit, limit: 2 });
        assert.ok(items.length >= 1 && items[0].unit === unit, unit);
        const pattern = {
          minute: /^\d{4}-\d\d-\d\d:\d\d:\d\d$/,
          hour: /^\d{4}-\d\d-\d\d:\d\d$/,
          day: /^\d{4}-\d\d-\d\d$/,
          month: /^\d{4}-\d\d$/,
        };
        assert.match(items[0].intervalId, pattern[unit]);
      }
    });

    test('are not for everybody', async (t) => {
      const listener = await way.rest(t, withKey(APP, '1050.listen'));
      assert.equal((await failure(listener.stats())).code, 40160);
      assert.equal((await failure((await way.rest(t, APP)).stats({ limit: 1001 }))).code, 40003);
    });
  });
}
