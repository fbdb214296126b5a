// ably-js and EventSource in headless Chromium, on a page of another origin than the server's.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { address } from '../../harness/ably/address.js';
import { usePages } from '../../harness/ably/browser.js';
import { jwt, keyOf } from '../../harness/ably/credentials.js';
import { streamPath } from '../../harness/ably/event_stream.js';
import { apps } from '../../harness/apps.js';
import { codeBlock } from '../../harness/documented.js';
import { unique } from '../../harness/names.js';

const APP = apps.ably;

/** Runs in the page: a client that reports what it gets on one channel. */
function client({ options, name, params }) {
  const plain = (message) => ({
    name: message.name,
    data: message.data instanceof ArrayBuffer ? [...new Uint8Array(message.data)] : message.data,
    clientId: message.clientId,
  });
  const realtime = new Ably.Realtime({ ...options, plugins: { vcdiff: window.vcdiffDecoder }, logLevel: 1 });
  realtime.connection.on(({ current, reason }) =>
    report('state', { current, code: reason?.code, id: realtime.connection.id }),
  );
  const channel = realtime.channels.get(name, params ? { params } : undefined);
  channel.on('attached', ({ resumed }) => report('attached', resumed));
  channel.subscribe((message) => report('message', plain(message)));
  channel.presence.subscribe(({ action, clientId }) => report('presence', { action, clientId }));
  window.page = {
    publish: (...message) => channel.publish(...message).then(({ serials }) => serials),
    publishBytes: (event, bytes) => channel.publish(event, new Uint8Array(bytes).buffer).then(() => null),
    enter: (data) => channel.presence.enter(data),
    members: () => channel.presence.get().then((members) => members.map((member) => member.clientId).sort()),
    history: () => channel.history().then(({ items }) => items.map(plain)),
    rest: (event, data) =>
      new Ably.Rest(options).channels
        .get(name)
        .publish(event, data)
        .then(() => null),
    close: () => realtime.close(),
  };
}

export function browser(way) {
  const pages = usePages();
  const open = async (t, settings = {}) => {
    const door = await way.door(t);
    const { logHandler, ...plain } = address(door);
    const options = { ...plain, ...way.options, key: keyOf(APP), disconnectedRetryTimeout: 500, ...settings.options };
    const name = settings.name ?? unique('page');
    const page = await pages.open(t, client, { options, name, params: settings.params });
    await page.count('attached', 1);
    return { page, door, name };
  };

  describe('in Chromium', () => {
    test('publish and subscribe', async (t) => {
      const { page, name } = await open(t);
      const node = await (await way.connect(t, APP)).subscribe(name);
      const [serial] = await page.call('publish', 'from-page', { text: 'Zoë 🚀' });
      const message = await node.message('from-page');
      assert.deepEqual([message.data, message.serial], [{ text: 'Zoë 🚀' }, serial]);
      await page.call('publishBytes', 'bytes', [0, 255]);
      assert.deepEqual(Buffer.from((await node.message('bytes')).data), Buffer.from([0, 255]));
      await node.channel.publish('from-node', Buffer.from([1, 254]));
      const received = await page.count('message', 3);
      assert.deepEqual(
        received.map((message) => [message.name, message.data]),
        [
          ['from-page', { text: 'Zoë 🚀' }],
          ['bytes', [0, 255]],
          ['from-node', [1, 254]],
        ],
      );
      assert.equal((await page.call('history')).length, 3);
      await page.call('rest', 'by-rest', 'x');
      await node.message('by-rest');
      assert.deepEqual(page.of('pageerror'), []);
    });

    test('presence', async (t) => {
      const { page, name } = await open(t, { options: { clientId: 'page' } });
      const bob = await way.connect(t, APP, { clientId: 'bob' });
      const room = await bob.channel(name).watch();
      await page.call('enter', 'hi');
      await room.knows({ page: 'hi' });
      await room.channel.presence.enter();
      await page.reports.until(() => page.of('presence').some(({ clientId }) => clientId === 'bob'), 'bob');
      assert.deepEqual(await page.call('members'), ['bob', 'page']);
      await page.call('close');
      await room.event('leave', 'page');
    });

    test('a token, deltas, and a resume on another node', async (t) => {
      const token = jwt(APP, { clientId: 'page' });
      const { page, door, name } = await open(t, { options: { key: undefined, token }, params: { delta: 'vcdiff' } });
      const publisher = (await way.rest(t, APP)).channels.get(name);
      const long = (number) => `${'long text '.repeat(50)}${number}`;
      for (const number of [0, 1, 2]) await publisher.publish('n', long(number));
      await page.count('message', 3);
      door.cut();
      for (const number of [3, 4]) await publisher.publish('n', long(number));
      const received = await page.count('message', 5);
      assert.deepEqual(
        received.map(({ data }) => data),
        [0, 1, 2, 3, 4].map(long),
      );
      assert.deepEqual(await page.count('attached', 2), [false, true]);
      const ids = page
        .of('state')
        .filter(({ current }) => current === 'connected')
        .map(({ id }) => id);
      assert.equal(ids[0], ids[1]);
    });

    test('a refused token is told', async (t) => {
      const { logHandler, ...plain } = address(await way.door(t));
      const options = { ...plain, ...way.options, token: jwt(APP, { seconds: -5 }) };
      const page = await pages.open(t, client, { options, name: 'a' });
      await page.reports.until(() => page.of('state').some(({ current }) => current === 'failed'), 'the failure');
    });
  });

  describe('EventSource in Chromium', () => {
    test('the page of the documentation, across a cut', async (t) => {
      const door = await way.door(t);
      const name = unique('page');
      const source = codeBlock('protocols/sse.md', 'live.js');
      const script = ({ source, url }) => {
        const show = (message) => report('message', message);
        new Function('url', 'show', 'told', source)(url, show, (error) => report('told', error));
      };
      const url = `http://${door.host}:${door.port}${streamPath(APP, name)}`;
      const page = await pages.open(t, script, { source, url });
      const publisher = (await way.rest(t, APP)).channels.get(name);
      await publisher.publish('n', '0');
      // The stream may open after the first message: what counts is that nothing is missing from the first one shown.
      let number = 1;
      while (page.of('message').length === 0) await publisher.publish('n', `${number++}`);
      const first = Number(page.of('message')[0].data);
      door.cut();
      const end = number + 5;
      while (number < end) await publisher.publish('n', `${number++}`);
      const shown = await page.count('message', number - first);
      assert.deepEqual(
        shown.map(({ data }) => Number(data)),
        Array.from({ length: number - first }, (_, index) => first + index),
      );
      assert.deepEqual(page.of('told'), []);
      assert.deepEqual(page.of('pageerror'), []);
    });
  });
}
