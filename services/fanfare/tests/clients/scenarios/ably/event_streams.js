// Server-sent events: the same messages, for whoever has nothing but HTTP.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { jwt, keyOf } from '../../harness/ably/credentials.js';
import { EventReader, bareStream, streamPath } from '../../harness/ably/event_stream.js';
import { apps, withKey } from '../../harness/apps.js';
import { request } from '../../harness/http.js';
import { unique } from '../../harness/names.js';
import { within } from '../../harness/wait.js';

const APP = apps.ably;
const TEST_MS = 300_000;
/** The server says something more often, also on a busy machine. */
const KEEP_ALIVE_MS = 60_000;
const NOWHERE = { host: '127.0.0.1', port: 1 };

const sequence = (length) => Array.from({ length }, (_, index) => index);

export function eventStreams(way) {
  const open = async (t, channels, params) => EventReader.open(t, await way.door(t), APP, channels, params);

  describe('event streams', () => {
    test('messages of several channels, with all that belongs to them', async (t) => {
      const names = [unique('one'), unique('two')];
      const reader = await open(t, names);
      const publisher = await way.connect(t, APP, { clientId: 'bob' });
      await publisher.channel(names[0]).channel.publish({ name: 'a', data: 'Zoë\n🚀', extras: { headers: { h: 1 } } });
      await publisher.channel(names[1]).channel.publish('b', { x: 1 });
      await publisher.channel(names[0]).channel.publish([{ name: 'c', data: Buffer.from([1, 255]) }, { name: 'd' }]);
      const [a, c] = [await reader.message('a'), await reader.message('c')];
      assert.deepEqual([a.channel, a.data, a.clientId, a.connectionId], [names[0], 'Zoë\n🚀', 'bob', publisher.id]);
      assert.deepEqual(a.extras, { headers: { h: 1 } });
      assert.equal(typeof a.timestamp, 'number');
      assert.match(a.id, /:\d+:0$/);
      const b = await reader.message('b');
      assert.deepEqual([b.channel, b.data, b.encoding], [names[1], '{"x":1}', 'json']);
      assert.deepEqual([c.data, c.encoding], ['Af8=', 'base64']);
      await reader.message('d');
      assert.equal(new Set(reader.messages.items.map(({ id }) => id)).size, 4, 'each event has an id of its own');
    });

    test('a token will do, in the query or in a header', async (t) => {
      const name = unique('token');
      const door = await way.door(t);
      const token = jwt(APP, { capability: { [name]: ['subscribe'] } });
      const reader = await EventReader.open(t, door, APP, name, { accessToken: token });
      const bare = await bareStream(
        t,
        door,
        streamPath(APP, name, { accessToken: token }).replace(/&accessToken=[^&]*/, ''),
        {
          authorization: `Bearer ${Buffer.from(token).toString('base64')}`,
        },
      );
      assert.equal(bare.status, 200);
      await (await way.rest(t, APP)).channels.get(name).publish('n', 'x');
      await reader.message('n');
      await bare.until((text) => text.includes('"n"'), 'the message');
    });

    test('what it answers with', async (t) => {
      const stream = await bareStream(t, await way.door(t), streamPath(APP, unique('a')));
      assert.equal(stream.headers.get('content-type'), 'text/event-stream');
      assert.match(stream.headers.get('cache-control'), /\bno-store\b/);
      assert.equal(stream.headers.get('access-control-allow-origin'), '*');
    });

    test('it is kept alive', { timeout: 2 * KEEP_ALIVE_MS }, async (t) => {
      const [comments, events] = await Promise.all([
        bareStream(t, await way.door(t), streamPath(APP, unique('a'))),
        bareStream(t, await way.door(t), streamPath(APP, unique('a'), { heartbeats: 'true' })),
      ]);
      await comments.until((text) => text.includes(':keepalive\n'), 'a comment', KEEP_ALIVE_MS);
      await events.until((text) => text.includes('event: heartbeat\n'), 'an event', KEEP_ALIVE_MS);
    });

    test('it goes on by itself where it was, on another node', { timeout: TEST_MS }, async (t) => {
      const door = await way.door(t);
      const name = unique('resumed');
      const reader = await EventReader.open(t, door, APP, [name, unique('quiet')]);
      const publisher = (await way.connect(t, APP)).channel(name).channel;
      let next = 0;
      for (const time of [2, 3]) {
        for (const _ of sequence(5)) await publisher.publish('number', `${next++}`);
        await reader.messages.count(time === 2 ? 1 : 11);
        door.cut();
        for (const _ of sequence(5)) await publisher.publish('number', `${next++}`);
        await reader.opened(time);
      }
      await publisher.publish([
        { name: 'number', data: `${next++}` },
        { name: 'end', data: '' },
      ]);
      await reader.message('end');
      assert.deepEqual(reader.data('number').map(Number), sequence(next));
      assert.deepEqual(reader.errors.items, []);
    });

    test('from within a publish of several messages', async (t) => {
      const name = unique('middle');
      const reader = await open(t, name);
      const rest = (await way.rest(t, APP)).channels.get(name);
      await rest.publish(sequence(3).map((number) => ({ name: 'number', data: `${number}` })));
      await reader.received(3);
      for (const index of sequence(3)) {
        const again = await open(t, name, { lastEvent: reader.messages.items[index].id });
        await rest.publish('end', '');
        await again.message('end');
        assert.deepEqual(again.data('number').map(Number), sequence(3).slice(index + 1));
      }
    });

    test('rewind, and a filter in the name', async (t) => {
      const name = unique('rewound');
      const rest = (await way.rest(t, APP)).channels.get(name);
      for (const number of sequence(5)) await rest.publish(number % 2 ? 'odd' : 'even', `${number}`);
      const reader = await open(t, name, { rewind: '3' });
      const odd = await open(
        t,
        `[filter=${Buffer.from("name == 'odd' || name == 'end'").toString('base64')}?rewind=5]${name}`,
      );
      await rest.publish('end', '');
      await Promise.all([reader.message('end'), odd.message('end')]);
      assert.deepEqual(
        reader.messages.items.map(({ message }) => message.data),
        ['2', '3', '4', ''],
      );
      assert.deepEqual(
        odd.messages.items.map(({ message }) => message.data),
        ['1', '3', ''],
      );
    });

    test('bare payloads', async (t) => {
      const name = unique('bare');
      const reader = await open(t, name, { enveloped: 'false' });
      const rest = (await way.rest(t, APP)).channels.get(name);
      const payloads = ['one\n\ntwo', 'event: forged\ndata: x', '{"a":1}', ''];
      for (const data of payloads) await rest.publish('n', data);
      assert.deepEqual(await reader.received(payloads.length), payloads);
    });

    test('lines of JSON for who asks for no events', async (t) => {
      const name = unique('lines');
      const stream = await bareStream(t, await way.door(t), streamPath(APP, name, { path: '/event-stream' }), {
        accept: 'application/json',
      });
      const rest = (await way.rest(t, APP)).channels.get(name);
      for (const number of sequence(3)) await rest.publish('number', `${number}\n`);
      const lines = await stream.until((text) => {
        const whole = text
          .split('\n')
          .slice(0, -1)
          .filter((line) => line !== '');
        return whole.length >= 3 && whole.map((line) => JSON.parse(line));
      }, 'three lines');
      assert.deepEqual(
        lines.map(({ event, data }) => [event, data.data]),
        sequence(3).map((number) => ['message', `${number}\n`]),
      );
      assert.ok(lines.every(({ id }) => id));
      const events = await bareStream(t, await way.door(t), streamPath(APP, name, { path: '/event-stream' }), {
        accept: 'text/event-stream',
      });
      assert.equal(events.headers.get('content-type'), 'text/event-stream');
    });

    test('who comes and goes', async (t) => {
      const name = unique('room');
      const reader = await open(t, name, { modes: 'subscribe,presence_subscribe' });
      const bob = await way.connect(t, APP, { clientId: 'bob' });
      await bob.channel(name).channel.presence.enter('hi');
      await bob.close();
      const told = (action) =>
        reader.presence.find(({ event }) => event.action === action && event.clientId === 'bob', `presence ${action}`);
      assert.equal((await told(2)).event.data, 'hi');
      assert.equal((await told(3)).event.channel, name);
    });

    test('the end of its token ends it', async (t) => {
      const name = unique('expiring');
      const door = await way.door(t);
      const stream = await bareStream(t, door, streamPath(APP, name, { accessToken: jwt(APP, { seconds: 10 }) }));
      assert.equal(stream.status, 200);
      await stream.until((text) => /event: error\ndata: .*40142/.test(text), 'the error');
      await within(stream.ended, 'the end of the stream');
    });

    test('who was away for too long is told', { timeout: TEST_MS }, async (t) => {
      const name = unique('lost');
      const door = await way.door(t);
      const reader = await EventReader.open(t, door, APP, name);
      const publisher = (await way.connect(t, APP)).channel(name).channel;
      await publisher.publish('number', '0');
      await reader.message('number');
      door.leadTo(NOWHERE);
      door.cut();
      for (const number of sequence(120)) await publisher.publish('number', `${number + 1}`);
      door.leadTo(...way.site.edges);
      const { code } = (await reader.errors.count(1, 'to be told'))[0];
      assert.equal(code, 90003);
      await publisher.publish('end', '');
      await reader.message('end');
    });

    test('an id that is not ours goes on with what is live', async (t) => {
      const name = unique('foreign');
      const reader = await open(t, name, { lastEvent: 'nonsense' });
      assert.equal((await reader.errors.count(1))[0].code, 80018);
      await (await way.rest(t, APP)).channels.get(name).publish('now', '');
      await reader.message('now');
    });

    test('what is refused before the start is a plain answer', async (t) => {
      const door = await way.door(t);
      const refused = async (path, status, code) => {
        const answer = await request({ port: door.port, path });
        const { error } = answer.json();
        assert.deepEqual(
          [answer.status, error.code, answer.headers['x-ably-errorcode']],
          [status, code, `${code}`],
          path,
        );
      };
      await refused('/sse?v=1.2&channels=a', 401, 40101);
      await refused('/sse?channels=a', 400, 40017);
      await refused(streamPath(APP, 'a', { key: `${keyOf(APP)}x` }), 401, 40101);
      await refused(streamPath(APP, 'a', { accessToken: jwt(APP, { seconds: -1 }) }), 401, 40142);
      await refused(streamPath(APP, ':bad'), 400, 40010);
      await refused(streamPath(APP, 'a', { rewind: 'x' }), 400, 40000);
      await refused(streamPath(withKey(APP, '1050.rooms'), 'lobby'), 401, 40160);
      await refused(streamPath(APP, ''), 400, 40003);
    });
  });
}
