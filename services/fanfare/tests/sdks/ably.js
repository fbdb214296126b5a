// ably-java and ably-go, each against itself and ably-js: realtime on one edge, REST on the other.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AblyClient } from '../clients/harness/ably/client.js';
import { jwt } from '../clients/harness/ably/credentials.js';
import { apps } from '../clients/harness/apps.js';
import { unique } from '../clients/harness/names.js';
import { goAbly } from './go.js';
import { javaAbly } from './java.js';

const APP = apps.ably;
const TEST_MS = 60_000;
const TEXTS = { text: 'Zoë 🚀', object: { a: 'x', b: ['y'] } };
/** How each is opened, and what it publishes and gets. ably-go 1.3 does not tell its realtime users bytes from text. */
const LIBRARIES = {
  'ably-java': [javaAbly, { ...TEXTS, bytes: { bytes: 'AP9B' } }],
  'ably-go': [goAbly, TEXTS],
};

/** What arrives of the payloads, in their form here. */
const inOurForm = (data) =>
  data instanceof ArrayBuffer || Buffer.isBuffer(data) ? { bytes: Buffer.from(data).toString('base64') } : data;

export function ablyLibraries(route) {
  for (const [title, [open, payloads]] of Object.entries(LIBRARIES)) {
    const count = Object.keys(payloads).length;
    for (const binary of [false, true]) {
      describe(`${title}, ${binary ? 'MessagePack' : 'JSON'}`, () => {
        const connect = async (t, edge, clientId) => {
          const library = open(t, edge, jwt(APP, { clientId, seconds: 600 }), binary);
          await library.call('connect');
          return library;
        };

        test('publishes and subscribes', { timeout: TEST_MS }, async (t) => {
          const name = unique('sdk');
          const [one, two] = [await connect(t, route.publishEdge, 'one'), await connect(t, route.subscribeEdge, 'two')];
          const js = await (await AblyClient.connect(t, route.subscribeEdge, APP)).subscribe(name);
          await two.call('subscribe', name);
          for (const [kind, data] of Object.entries(payloads)) await one.call('publish', name, kind, data);
          const received = await two.happened.count(count, `${count} messages`);
          assert.deepEqual(
            received.map((message) => [message.name, message.data, message.clientId]),
            Object.entries(payloads).map((entry) => [...entry, 'one']),
          );
          assert.deepEqual((await js.received(count)).map(inOurForm), Object.values(payloads));
          for (const [kind, data] of Object.entries(payloads)) {
            await js.channel.publish(kind, data.bytes ? Buffer.from(data.bytes, 'base64') : data);
          }
          const all = await two.happened.count(2 * count, `${2 * count} messages`);
          assert.deepEqual(
            all.slice(count).map(({ data }) => data),
            Object.values(payloads),
          );
          const history = await two.call('history', name, '2');
          assert.deepEqual(
            history.map(({ data }) => data),
            [...Object.values(payloads), ...Object.values(payloads)],
          );
          assert.ok(Math.abs((await one.call('time')) - Date.now()) < 60_000);
        });

        test('is present', { timeout: TEST_MS }, async (t) => {
          const name = unique('sdk');
          const [one, two] = [await connect(t, route.publishEdge, 'one'), await connect(t, route.subscribeEdge, 'two')];
          await two.call('watch', name);
          await one.call('enter', name, 'hi');
          await two.happened.find(({ clientId, action }) => clientId === 'one' && /enter/i.test(action), 'one to come');
          assert.deepEqual(await two.call('present', name), ['one']);
          await one.call('close');
          await two.happened.find(
            ({ clientId, action }) => clientId === 'one' && /leave/i.test(action),
            'one to leave',
          );
        });
      });
    }
  }
}
