// Watchlists: a signed-in user hears which of the users on a list are online.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

const EVENT = 'pusher_internal:watchlist_events';
const TOO_LONG = 4302;
/** Documented. */
const LONGEST = 100;

export function watchlist(route) {
  let here;
  let there;
  before(() => ([here, there] = [route.subscribeEdge, route.publishEdge]));
  const app = apps.watching;

  async function signedIn(t, edge, user) {
    const subscriber = await Subscriber.connect(t, edge, app, await identifiedAs(t, app, { user }));
    await subscriber.signIn();
    return subscriber;
  }

  /** What a user was last told of another. */
  const lastTold = (watched, id) => told(watched, id).at(-1);

  /** All that a user was told of another: `online` and `offline`, in order. */
  const told = ({ watched }, id) =>
    watched.items.filter(({ user_ids: ids }) => ids.includes(id)).map(({ name }) => name);

  const becomes = (watcher, id, name) =>
    watcher.watched.until(() => lastTold(watcher, id) === name, `${id} to be ${name}`);

  describe('watchlists', () => {
    test('§18.46 the present state is told by the internal event, which has no channel', async (t) => {
      const [on, off] = [unique('on'), unique('off')];
      await signedIn(t, there, { id: on });
      await eventually(async () => {
        const socket = await RawSocket.connect(t, here, app);
        await socket.signIn(app, { id: unique('watcher'), watchlist: [on, off] });
        const frame = await socket.event(EVENT);
        assert.ok(!('channel' in frame), frame.text);
        const events = JSON.parse(frame.data).events.filter(({ user_ids: ids }) => ids.length > 0);
        assert.deepEqual(
          events.sort((a, b) => (a.name < b.name ? -1 : 1)),
          [
            { name: 'offline', user_ids: [off] },
            { name: 'online', user_ids: [on] },
          ],
        );
        return true;
      }, 'the watcher’s edge to know who is online');
    });

    test('§8 each change is told once: the first connection of a user, and the last', async (t) => {
      const bob = unique('bob');
      const watcher = await signedIn(t, here, { id: unique('watcher'), watchlist: [bob] });
      await becomes(watcher, bob, 'offline');
      const first = await signedIn(t, there, { id: bob });
      await becomes(watcher, bob, 'online');
      const second = await signedIn(t, here, { id: bob });
      first.disconnect();
      // A change of somebody else shows that there was none of bob.
      const amy = unique('amy');
      const other = await signedIn(t, here, { id: unique('watcher'), watchlist: [bob, amy] });
      const amyHerself = await signedIn(t, there, { id: amy });
      await becomes(other, amy, 'online');
      amyHerself.disconnect();
      await becomes(other, amy, 'offline');
      assert.deepEqual(told(watcher, bob), ['offline', 'online']);
      assert.deepEqual(told(other, bob), ['online']);
      second.disconnect();
      await becomes(watcher, bob, 'offline');
      await becomes(other, bob, 'offline');
      assert.deepEqual(told(watcher, bob), ['offline', 'online', 'offline']);
    });

    test('only who is on the list is told of', async (t) => {
      const [bob, amy] = [unique('bob'), unique('amy')];
      const watcher = await signedIn(t, here, { id: unique('watcher'), watchlist: [bob] });
      await signedIn(t, there, { id: amy });
      await signedIn(t, there, { id: bob });
      await becomes(watcher, bob, 'online');
      assert.deepEqual(told(watcher, amy), []);
    });

    test(`a list of more than ${LONGEST} signs in with an error, and its first ${LONGEST} count`, async (t) => {
      const ids = Array.from({ length: LONGEST + 1 }, () => unique('user'));
      const socket = await RawSocket.connect(t, here, app);
      await socket.signIn(app, { id: unique('watcher'), watchlist: ids });
      await socket.event('pusher:error', ({ data }) => data.code === TOO_LONG);
      const { data } = await socket.event(EVENT);
      const told = JSON.parse(data).events.flatMap(({ user_ids: each }) => each);
      assert.deepEqual(told.sort(), ids.slice(0, LONGEST).sort());
      await socket.ping();
    });

    test('an app without watchlists tells nothing', async (t) => {
      const socket = await RawSocket.connect(t, here, apps.main);
      await socket.signIn(apps.main, { id: unique('watcher'), watchlist: [unique('bob')] });
      await socket.ping();
      assert.deepEqual(socket.all(EVENT), []);
      assert.deepEqual(socket.all('pusher:error'), []);
    });
  });
}
