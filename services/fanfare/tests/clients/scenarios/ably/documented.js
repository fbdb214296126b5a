// The code of docs/protocols/ably.md and sse.md, as it stands there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import Ably from 'ably';
import { EventSource } from 'eventsource';
import { keyOf } from '../../harness/ably/credentials.js';
import { streamPath } from '../../harness/ably/event_stream.js';
import { apps } from '../../harness/apps.js';
import { codeBlock, shellBlock } from '../../harness/documented.js';
import { Inbox } from '../../harness/inbox.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;
const ABLY = 'protocols/ably.md';
const SSE = 'protocols/sse.md';

/** Runs code that stands in the documentation, with these names in scope; answers what it declares as `result`. */
function run(source, scope, result = '') {
  const AsyncFunction = (async () => {}).constructor;
  return new AsyncFunction(...Object.keys(scope), `${source}\n${result}`)(...Object.values(scope));
}

export function documented(way) {
  /** The scope of the snippets, with what is shown in an inbox. */
  async function scope(t) {
    const { host, port } = await way.door(t);
    const shown = new Inbox();
    return { Ably, host, port, key: keyOf(APP), show: (name, data) => shown.push({ name, data }), shown };
  }

  describe('the documentation', () => {
    test('ably.md: a client with a token of your server', async (t) => {
      const all = await scope(t);
      const tokenRequest = await run(codeBlock(ABLY, 'token.js'), all, 'return tokenRequest;');
      const realtime = await run(codeBlock(ABLY, 'connect.js'), { ...all, tokenRequest }, 'return realtime;');
      t.after(() => realtime.close());
      await all.shown.find(({ name, data }) => name === 'greeting' && data.text === 'hello', 'the greeting');
      assert.equal(realtime.auth.clientId, 'bob');
    });

    test('ably.md: a filter', async (t) => {
      const all = await scope(t);
      const { realtime } = await way.connect(t, APP);
      await run(codeBlock(ABLY, 'filter.js'), { ...all, realtime });
      const orders = (await way.rest(t, APP)).channels.get('orders');
      const order = (data, headers) => orders.publish({ name: 'order', data, extras: { headers } });
      const mine = unique('order');
      await order('elsewhere', { region: 'us', total: 500 });
      await order('small', { region: 'eu', total: 50 });
      await order(mine, { region: 'eu', total: 500 });
      await all.shown.find(({ data }) => data === mine, 'the order');
      assert.ok(all.shown.items.every(({ data }) => data !== 'elsewhere' && data !== 'small'));
    });

    test('sse.md: a page', async (t) => {
      const { host, port } = await way.door(t);
      const [name, shown, told] = [unique('room'), new Inbox(), new Inbox()];
      const url = `http://${host}:${port}${streamPath(APP, name)}`;
      const scope = { EventSource, url, show: (message) => shown.push(message), told: (error) => told.push(error) };
      const source = await run(codeBlock(SSE, 'live.js'), scope, 'return source;');
      t.after(() => source.close());
      await new Promise((resolve) => source.addEventListener('open', resolve));
      await (await way.rest(t, APP)).channels.get(name).publish('greeting', { text: 'hello' });
      const [message] = await shown.count(1);
      assert.deepEqual([message.channel, message.name, message.encoding], [name, 'greeting', 'json']);
      assert.deepEqual(JSON.parse(message.data), { text: 'hello' });
      assert.deepEqual(told.items, []);
    });

    test('sse.md: a shell', async (t) => {
      const { host, port } = await way.door(t);
      const SERVER = `http://${host}:${port}`;
      const script = shellBlock(SSE, 'follow.sh').replace('channels=room:1', 'channels=room:shell');
      const shell = spawn('sh', ['-c', `exec ${script.split('\n').slice(1).join('\n')}`], {
        env: { ...process.env, SERVER, KEY: keyOf(APP) },
      });
      t.after(() => shell.kill());
      const lines = new Inbox();
      let text = '';
      shell.stdout.setEncoding('utf8').on('data', (piece) => {
        text += piece;
        lines.push(piece);
      });
      const channel = (await way.rest(t, APP)).channels.get('room:shell');
      const found = () => text.split('\n').find((line) => line.includes('"greeting"'));
      // Until curl is connected, nobody follows.
      while (!found()) await channel.publish('greeting', 'hello');
      const { event, data } = JSON.parse(found());
      assert.deepEqual([event, data.channel, data.data], ['message', 'room:shell', 'hello']);
    });
  });
}
