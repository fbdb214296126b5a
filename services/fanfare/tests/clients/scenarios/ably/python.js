// The `ably` library for Python, over TLS.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pythonLibrary } from '../../harness/ably/python.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
const PAYLOADS = { text: 'Zoë 🚀', object: { a: [1, null, 'x'] }, bytes: { bytes: 'AP9B' } };

export function python(site) {
  const formats = { JSON: { use_binary_protocol: false }, MessagePack: { use_binary_protocol: true } };
  for (const [format, options] of Object.entries(formats)) {
    describe(`the Python library, ${format}`, () => {
      const library = (t, more = {}) => pythonLibrary(t, site, APP, { ...options, ...more });

      test('REST: time, tokens, publishing, history in pages', async (t) => {
        const python = library(t);
        assert.ok(Math.abs((await python.call('time')) - Date.now()) < 60_000);
        const token = await python.call('token');
        assert.equal(token.expires - token.issued, 3_600_000);
        const name = unique('py');
        for (const [kind, data] of Object.entries(PAYLOADS)) await python.call('rest_publish', name, kind, data);
        await python.call('rest_publish_all', name, [
          ['a', '1'],
          ['b', '2'],
        ]);
        const items = await python.call('history', name, 2);
        assert.deepEqual(
          items.map((item) => [item.name, item.data]),
          [...Object.entries(PAYLOADS), ['a', '1'], ['b', '2']],
        );
      });

      test('realtime: publish, subscribe and be present, with another of its kind', async (t) => {
        const [one, two] = [library(t, { client_id: 'one' }), library(t, { client_id: 'two' })];
        const name = unique('py');
        assert.equal(await one.call('connect'), 'one');
        await Promise.all([two.call('connect'), one.call('subscribe', name), one.call('watch', name)]);
        for (const [kind, data] of Object.entries(PAYLOADS)) await two.call('publish', name, kind, data);
        const messages = await one.happened.until((items) => {
          const received = items.filter(({ kind }) => kind === 'message');
          return received.length === 3 && received;
        }, 'three messages');
        assert.deepEqual(
          messages.map((message) => [message.name, message.data]),
          Object.entries(PAYLOADS),
        );
        assert.ok(messages.every((message) => message.client_id === 'two'));
        await two.call('enter', name, 'hi');
        await one.happened.find((item) => item.kind === 'presence' && item.client_id === 'two', 'two to come');
        assert.deepEqual(await one.call('present', name), ['two']);
        assert.deepEqual(await one.call('members', name), ['two']);
        assert.ok((await one.call('ping')) >= 0);
        await two.call('close');
        await one.happened.find((item) => item.client_id === 'two' && item.action === 3, 'two to leave');
      });

      test('a refusal has its code', async (t) => {
        const error = await library(t)
          .call('rest_publish', ':bad', 'x', 'y')
          .catch((error) => error);
        assert.equal(error.name, 'AblyException');
        assert.match(error.message, /^40010 /);
      });
    });
  }
}
