// pusher-websocket-java, the library of Android apps, against the `pusher` library for node and pusher-js.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../clients/harness/apps.js';
import { authEndpoint, identifiedAs } from '../clients/harness/auth_endpoint.js';
import { FrontDoor } from '../clients/harness/front_door.js';
import { unique } from '../clients/harness/names.js';
import { publisher } from '../clients/harness/publisher.js';
import { Subscriber } from '../clients/harness/subscriber.js';
import { eventually } from '../clients/harness/wait.js';
import { clientLibrary } from './java.js';

/** It waits up to 30 s between attempts. */
const RECONNECT_MS = 60_000;
const TEST_MS = 180_000;

export function javaClient(route) {
  const publisherOf = (t) => publisher(t, route.publishEdge, apps.main);

  /** Waits for something the library told, with these members. */
  const told = (library, members, ms) =>
    library.happened.find(
      (happened) => Object.entries(members).every(([name, value]) => happened[name] === value),
      JSON.stringify(members),
      ms,
    );

  const states = (library) => library.happened.items.filter(({ kind }) => kind === 'state').map(({ state }) => state);

  const connections = (library) => states(library).filter((state) => state === 'CONNECTED').length;

  async function connect(t, { address = route.subscribeEdge, identity, timeouts } = {}) {
    const library = clientLibrary(t, address, apps.main, await authEndpoint(t, apps.main, identity), timeouts);
    await library.call('connect');
    await told(library, { kind: 'state', state: 'CONNECTED' });
    return library;
  }

  async function subscribe(library, channel) {
    await library.call('subscribe', channel);
    await told(library, { kind: 'subscribed', channel });
    return channel;
  }

  const pusherJs = async (t, identity) =>
    Subscriber.connect(t, route.publishEdge, apps.main, await identifiedAs(t, apps.main, identity));

  describe('pusher-websocket-java', () => {
    test('connects with its protocol 5 and knows its socket id', async (t) => {
      const library = await connect(t);
      assert.match(await library.call('socketId'), /^\d+\.\d+$/);
      assert.deepEqual(states(library), ['CONNECTING', 'CONNECTED']);
    });

    test('receives on public, private, encrypted and cache channels', async (t) => {
      const library = await connect(t);
      for (const prefix of ['news', 'private-news', 'private-encrypted-news', 'cache-news']) {
        const channel = await subscribe(library, unique(prefix));
        await publisherOf(t).trigger(channel, 'headline', { text: 'Zoë 🚀' });
        const { data, userId } = await told(library, { kind: 'event', channel, event: 'headline' });
        assert.deepEqual([JSON.parse(data), userId], [{ text: 'Zoë 🚀' }, null]);
      }
    });

    test('knows the members of a presence channel, and who comes and goes', async (t) => {
      const channel = unique('presence-room');
      const other = await pusherJs(t, { member: { user_id: 'ann', user_info: { name: 'Ann' } } });
      const subscription = await other.subscribe(channel);
      const library = await connect(t, { identity: { member: { user_id: 'bob', user_info: { name: 'Bob' } } } });
      await subscribe(library, channel);
      await subscription.added('bob');
      const isKnown = ({ kind, id, members }) => (kind === 'members' ? members.ann : kind === 'added' && id === 'ann');
      await library.happened.find(isKnown, 'ann to be known');
      subscription.trigger('client-wave', { n: 1 });
      const { data, userId } = await told(library, { kind: 'event', channel, event: 'client-wave' });
      assert.deepEqual([JSON.parse(data), userId], [{ n: 1 }, 'ann']);
      const third = await pusherJs(t, { member: { user_id: 'cid' } });
      await third.subscribe(channel);
      await told(library, { kind: 'added', channel, id: 'cid' });
      third.disconnect();
      await told(library, { kind: 'removed', channel, id: 'cid' });
      await library.call('disconnect');
      await subscription.removed('bob');
    });

    test('sends client events', async (t) => {
      const library = await connect(t);
      const channel = await subscribe(library, unique('private-chat'));
      const subscription = await (await pusherJs(t)).subscribe(channel);
      await library.call('trigger', channel, 'client-typing', '{"who":"java"}');
      assert.deepEqual((await subscription.event('client-typing')).data, { who: 'java' });
    });

    test('signs in, and receives what is sent to the user', async (t) => {
      const id = unique('user');
      const library = await connect(t, { identity: { user: { id } } });
      await library.call('signin');
      const isTold = async () => {
        await publisherOf(t).sendToUser(id, 'for-you', { n: 1 });
        return library.happened.items.find(({ kind }) => kind === 'user event');
      };
      const { event, data } = await eventually(isTold, 'an event for the user');
      assert.deepEqual([event, JSON.parse(data)], ['for-you', { n: 1 }]);
    });

    test('stays alive by its pings while nothing else is said', async (t) => {
      const door = await FrontDoor.open(t, route.subscribeEdge);
      const sent = door.tap();
      const library = await connect(t, { address: door, timeouts: { activityTimeoutMs: 1_000, pongTimeoutMs: 5_000 } });
      const pongs = () => sent.items.join('').split('pusher:pong').length - 1;
      await sent.until(() => pongs() >= 3, 'three pongs');
      assert.deepEqual(states(library), ['CONNECTING', 'CONNECTED']);
    });

    test('after a drain (4200) it is back with its channels on another node', { timeout: TEST_MS }, async (t) => {
      const { subscribeEdge: leaving, publishEdge: staying } = route;
      const door = await FrontDoor.open(t, leaving);
      const library = await connect(t, { address: door });
      const channel = await subscribe(library, unique('private-news'));
      door.leadTo(staying);
      leaving.beginDrain();
      await library.happened.until(() => connections(library) === 2, 'another connection', RECONNECT_MS);
      await leaving.drained();
      const again = (items) => items.filter(({ kind }) => kind === 'subscribed').length === 2;
      await library.happened.until(again, 'the channel to be subscribed again');
      await publisherOf(t).trigger(channel, 'headline', 1);
      await told(library, { kind: 'event', channel, event: 'headline' });
      await leaving.start();
    });

    test('after a cut it is back with its channels', { timeout: TEST_MS }, async (t) => {
      const door = await FrontDoor.open(t, route.subscribeEdge);
      const library = await connect(t, { address: door });
      const channel = await subscribe(library, unique('news'));
      door.cut();
      await library.happened.until(() => connections(library) === 2, 'another connection', RECONNECT_MS);
      const again = (items) => items.filter(({ kind }) => kind === 'subscribed').length === 2;
      await library.happened.until(again, 'the channel to be subscribed again');
      await publisherOf(t).trigger(channel, 'headline', 1);
      await told(library, { kind: 'event', channel, event: 'headline' });
    });

    test('is told why it is refused, and gives up', async (t) => {
      const library = clientLibrary(t, route.subscribeEdge, { key: 'unknown' }, await authEndpoint(t, apps.main));
      await library.call('connect');
      await told(library, { kind: 'error', code: '4001' });
      await told(library, { kind: 'state', state: 'DISCONNECTED' });
      assert.equal(connections(library), 0);
    });
  });
}
