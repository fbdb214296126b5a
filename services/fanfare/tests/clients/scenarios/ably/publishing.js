// Every way to publish, and what arrives.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failure } from '../../harness/ably/client.js';
import { jwt } from '../../harness/ably/credentials.js';
import { apps } from '../../harness/apps.js';
import { unique } from '../../harness/names.js';

/** What an SDK may be given as data, and what others get. */
const PAYLOADS = {
  text: 'Zoë 🚀\n"quoted" \\ \u2028',
  empty: '',
  object: { a: [1, 2.5, null, true], b: { ü: 'x' } },
  array: [1, 'two', { three: 3 }],
  bytes: Buffer.from([0, 1, 0x41, 0xfe, 0xff]),
  asciiBytes: Buffer.from('plain letters'),
};

/** Bytes of any kind as a Buffer, anything else as it is. */
const comparable = (data) => (data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? Buffer.from(data) : data);

export function publishing(way) {
  const pair = async (t, options) => {
    const [publisher, reader] = await Promise.all([way.connect(t, apps.ably, options), way.connect(t, apps.ably)]);
    const name = unique('news');
    return { publisher: publisher.channel(name), reader: await reader.subscribe(name), publisherClient: publisher };
  };

  describe('publishing', () => {
    test('every kind of data arrives as it was, by realtime and by REST', async (t) => {
      const { publisher, reader } = await pair(t);
      const rest = (await way.rest(t, apps.ably)).channels.get(reader.name);
      for (const [kind, data] of Object.entries(PAYLOADS)) {
        await publisher.channel.publish(kind, data);
        await rest.publish(`rest-${kind}`, data);
      }
      for (const [kind, data] of Object.entries(PAYLOADS)) {
        for (const name of [kind, `rest-${kind}`]) {
          assert.deepEqual(comparable((await reader.message(name)).data), data, name);
        }
      }
    });

    test('name and data may be missing', async (t) => {
      const { publisher, reader } = await pair(t);
      await publisher.channel.publish('only-a-name', undefined);
      await publisher.channel.publish(null, 'only data');
      await publisher.channel.publish({});
      const [one, two, three] = await reader.messages.count(3);
      assert.deepEqual([one.name, one.data], ['only-a-name', undefined]);
      assert.deepEqual([two.name, two.data], [undefined, 'only data']);
      assert.deepEqual([three.name, three.data], [undefined, undefined]);
    });

    test('an array is one publish: ids and serials by index', async (t) => {
      const { publisher, reader, publisherClient } = await pair(t);
      const messages = [1, 2, 3].map((number) => ({ name: 'number', data: `${number}` }));
      const { serials } = await publisher.channel.publish(messages);
      const received = await reader.messages.count(3);
      assert.deepEqual(
        received.map(({ data }) => data),
        ['1', '2', '3'],
      );
      assert.deepEqual(
        received.map(({ serial }) => serial),
        serials,
      );
      assert.deepEqual([...serials].sort(), serials);
      received.forEach(({ id, connectionId, timestamp }, index) => {
        assert.match(id, new RegExp(`^${publisherClient.id}:\\d+:${index}$`));
        assert.equal(connectionId, publisherClient.id);
        assert.ok(Math.abs(timestamp - Date.now()) < 60_000);
      });
    });

    test('without attaching', async (t) => {
      const { publisher, reader } = await pair(t);
      await publisher.channel.publish('transient', 'x');
      assert.equal(publisher.channel.state, 'initialized');
      await reader.message('transient');
    });

    test('extras and their headers arrive', async (t) => {
      const { publisher, reader } = await pair(t);
      const extras = { headers: { number: 1, text: 'ä', flag: true }, ref: { type: 'reply', timeserial: 'x' } };
      await publisher.channel.publish({ name: 'with', data: 'x', extras });
      assert.deepEqual((await reader.message('with')).extras, extras);
    });

    test('an id makes it idempotent, on any node and by any surface', async (t) => {
      const { publisher, reader } = await pair(t);
      const id = `${unique('mine')}:0`;
      const first = await publisher.channel.publish({ id, name: 'once', data: '1' });
      const again = await publisher.channel.publish({ id, name: 'once', data: '2' });
      const rest = (await way.rest(t, apps.ably)).channels.get(reader.name);
      await rest.publish({ id, name: 'once', data: '3' });
      await publisher.channel.publish('end', '');
      await reader.message('end');
      assert.deepEqual(reader.data('once'), ['1']);
      assert.deepEqual(again.serials, first.serials);
      assert.equal((await reader.message('once')).id, id);
    });

    test('REST answers with serials, and refuses ids that do not go together', async (t) => {
      const rest = await way.rest(t, apps.ably);
      const channel = rest.channels.get(unique('news'));
      const { serials } = await channel.publish([{ data: 'a' }, { data: 'b' }]);
      assert.equal(serials.length, 2);
      const error = await failure(
        channel.publish([
          { id: 'a:0', data: '' },
          { id: 'b:1', data: '' },
        ]),
      );
      assert.deepEqual([error.code, error.statusCode], [40031, 400]);
    });

    test('a publisher hears itself, unless it does not want to', async (t) => {
      const loud = await way.connect(t, apps.ably);
      const mute = await way.connect(t, apps.ably, { echoMessages: false });
      const name = unique('echo');
      const [hers, his] = [await loud.subscribe(name), await mute.subscribe(name)];
      const perChannel = await (await way.connect(t, apps.ably)).subscribe(name, { params: { echo: 'false' } });
      await his.channel.publish('from-mute', '');
      await perChannel.channel.publish('from-per-channel', '');
      await hers.channel.publish('from-loud', '');
      for (const channel of [hers, his, perChannel]) await channel.message('from-loud');
      const names = (channel) => channel.messages.items.map((message) => message.name);
      assert.deepEqual(names(hers), ['from-mute', 'from-per-channel', 'from-loud']);
      assert.deepEqual(names(his), ['from-per-channel', 'from-loud']);
      assert.deepEqual(names(perChannel), ['from-mute', 'from-loud']);
    });

    test('the clientId is stamped, and nobody can take another one', async (t) => {
      const bob = await way.connect(t, apps.ably, { token: jwt(apps.ably, { clientId: 'bob' }) });
      const anyone = await way.connect(t, apps.ably, { token: jwt(apps.ably, { clientId: '*' }) });
      const nobody = await way.connect(t, apps.ably, { token: jwt(apps.ably) });
      const reader = await (await way.connect(t, apps.ably)).subscribe(unique('who'));
      const publish = (client, message) => client.channel(reader.name).channel.publish(message);
      await publish(bob, { name: 'implicit' });
      await publish(bob, { name: 'explicit', clientId: 'bob' });
      await publish(anyone, { name: 'chosen', clientId: 'carl' });
      await publish(anyone, { name: 'none' });
      const rest = (await way.rest(t, apps.ably)).channels.get(reader.name);
      await rest.publish({ name: 'rest', clientId: 'dora' });
      await reader.message('rest');
      const told = reader.messages.items.map(({ name, clientId }) => [name, clientId]);
      assert.deepEqual(told, [
        ['implicit', 'bob'],
        ['explicit', 'bob'],
        ['chosen', 'carl'],
        ['none', undefined],
        ['rest', 'dora'],
      ]);
      assert.equal((await failure(publish(nobody, { name: 'x', clientId: 'eve' }))).code, 40012);
    });

    test('what is too large is refused, and the connection goes on', async (t) => {
      const { publisher, reader } = await pair(t, { maxMessageSize: 1_000_000 });
      const error = await failure(publisher.channel.publish('large', 'x'.repeat(65_537)));
      assert.deepEqual([error.code, error.statusCode], [40009, 400]);
      await publisher.channel.publish('fits', 'x'.repeat(65_000));
      assert.equal((await reader.message('fits')).data.length, 65_000);
      assert.equal(
        (
          await failure(
            (await way.rest(t, apps.ably, { maxMessageSize: 1_000_000 })).channels
              .get(reader.name)
              .publish('large', 'x'.repeat(65_537)),
          )
        ).code,
        40009,
      );
    });

    test('a forced refusal', async (t) => {
      const { publisher } = await pair(t);
      assert.equal((await failure(publisher.channel.publish({ name: 'x' }, { _forceNack: 'true' }))).code, 40099);
    });

    test('on behalf of a connection', async (t) => {
      const { reader } = await pair(t);
      const other = await way.connect(t, apps.ably, { clientId: 'other' });
      const rest = (await way.rest(t, apps.ably)).channels.get(reader.name);
      await rest.publish({ name: 'for', data: 'x', connectionKey: other.connection.key });
      const message = await reader.message('for');
      assert.deepEqual([message.connectionId, message.clientId], [other.id, 'other']);
      const error = await failure(rest.publish({ name: 'for', data: 'x', connectionKey: `${other.connection.key}x` }));
      assert.deepEqual([error.code, error.statusCode], [40006, 400]);
    });

    test('ephemeral messages are delivered and not stored', async (t) => {
      const { publisher, reader } = await pair(t);
      await publisher.channel.publish({ name: 'fleeting', data: '1', extras: { ephemeral: true } });
      await publisher.channel.publish('kept', '2');
      await reader.message('fleeting');
      await reader.message('kept');
      const { items } = await reader.channel.history();
      assert.deepEqual(
        items.map(({ name }) => name),
        ['kept'],
      );
    });

    test('updates, deletes and annotations are refused as not enabled', async (t) => {
      const { publisher, reader } = await pair(t);
      const {
        serials: [serial],
      } = await publisher.channel.publish('a', 'b');
      await reader.message('a');
      assert.equal((await failure(publisher.channel.updateMessage({ serial, data: 'c' }))).code, 93002);
      assert.equal((await failure(publisher.channel.deleteMessage({ serial }))).code, 93002);
      const rest = (await way.rest(t, apps.ably)).channels.get(reader.name);
      assert.equal((await failure(rest.updateMessage({ serial, data: 'c' }))).code, 93002);
    });
  });
}
