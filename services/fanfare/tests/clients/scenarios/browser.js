// The stock pusher-js in headless Chromium, with the same library on node at the other edge.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { WITH_ENCRYPTION, useBrowser } from '../harness/browser.js';
import { FrontDoor } from '../harness/front_door.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber, fallbackOptions } from '../harness/subscriber.js';

const ANN = { member: { user_id: 'ann', user_info: { name: 'Ann' } } };
const BOB = { member: { user_id: 'bob', user_info: { name: 'Bob' } } };

export function browser(route) {
  describe('pusher-js in Chromium', () => {
    const chromium = useBrowser();
    const publisherOf = (t, app = apps.main) => publisher(t, route.publishEdge, app);

    /** In a page at the subscribing edge, or wherever `address` leads. */
    async function inBrowser(t, { identity, app = apps.main, address = route.subscribeEdge, library } = {}) {
      return chromium.connect(t, address, app, await identifiedAs(t, app, identity), library);
    }

    /** On node at the publishing edge. */
    async function onNode(t, { identity, app = apps.main } = {}) {
      return Subscriber.connect(t, route.publishEdge, app, await identifiedAs(t, app, identity));
    }

    test('connects, and learns a socket id', async (t) => {
      const page = await inBrowser(t);
      assert.match(page.socketId, /^\d+\.\d+$/);
      assert.deepEqual(page.states.items.slice(-1), ['connected']);
    });

    test('§18.3 gives up for good on an unknown key', async (t) => {
      const page = await chromium.open(t, route.subscribeEdge, { key: 'unknown' });
      await page.error(4001);
      await page.gaveUp();
    });

    test('receives on public and private channels', async (t) => {
      const page = await inBrowser(t);
      const text = 'Zoë 🚀 "quoted" \u2028';
      for (const prefix of ['news', 'private-news']) {
        const subscription = await page.subscribe(unique(prefix));
        await publisherOf(t).trigger(subscription.name, 'headline', { text });
        assert.deepEqual((await subscription.event('headline')).data, { text });
      }
    });

    test('a refused private channel reports its error', async (t) => {
      const options = await identifiedAs(t, { ...apps.main, secret: 'not-the-secret' });
      const page = await chromium.connect(t, route.subscribeEdge, apps.main, options);
      const { data } = await (await page.join(unique('private-news'))).notice('pusher:subscription_error');
      assert.deepEqual([data.type, data.status], ['AuthError', 401]);
    });

    test('client events go both ways', async (t) => {
      const channel = unique('private-chat');
      const [inPage, other] = await Promise.all(
        [await inBrowser(t), await onNode(t)].map((client) => client.subscribe(channel)),
      );
      await inPage.trigger('client-typing', { who: 'page' });
      assert.deepEqual((await other.event('client-typing')).data, { who: 'page' });
      other.trigger('client-typing', { who: 'node' });
      assert.deepEqual((await inPage.event('client-typing')).data, { who: 'node' });
      assert.deepEqual(inPage.dataOf('client-typing'), [{ who: 'node' }]);
    });

    test('§18.15 members of both sides know each other, and client events name their sender', async (t) => {
      const channel = unique('presence-room');
      const page = await inBrowser(t, { identity: ANN });
      const inPage = await page.subscribe(channel);
      const node = await onNode(t, { identity: BOB });
      const other = await node.subscribe(channel);
      const everybody = { ann: { name: 'Ann' }, bob: { name: 'Bob' } };
      await Promise.all([inPage, other].map((subscription) => subscription.knows(everybody)));
      const heard = await inPage.withMetadata('client-wave');
      other.trigger('client-wave', 1);
      assert.deepEqual(await heard.count(1), [{ data: 1, metadata: { user_id: 'bob' } }]);
      node.disconnect();
      await inPage.removed('bob');
      await inPage.knows({ ann: { name: 'Ann' } });
    });

    test('decrypts what is published on an encrypted channel', async (t) => {
      const page = await inBrowser(t, { library: WITH_ENCRYPTION });
      const subscription = await page.subscribe(unique('private-encrypted-vault'));
      await publisherOf(t).trigger(subscription.name, 'secret', { text: 'Zoë 🚀' });
      assert.deepEqual((await subscription.event('secret')).data, { text: 'Zoë 🚀' });
    });

    test('signs in and receives what is sent to the user', async (t) => {
      const id = unique('user');
      const page = await inBrowser(t, { identity: { user: { id } } });
      await page.signIn();
      await publisherOf(t).sendToUser(id, 'for-you', { n: 1 });
      assert.deepEqual(await page.userEvents.count(1), [{ event: 'for-you', data: { n: 1 } }]);
    });

    test('reconnects after a cut, with all its channels', async (t) => {
      const door = await FrontDoor.open(t, route.subscribeEdge);
      const page = await inBrowser(t, { address: door, identity: ANN });
      const subscriptions = [];
      for (const prefix of ['news', 'private-news', 'presence-room']) {
        subscriptions.push(await page.subscribe(unique(prefix)));
      }
      door.cut();
      await page.connected(2);
      for (const subscription of subscriptions) {
        await subscription.notices.until(
          () => subscription.noticed('subscription_succeeded').length === 2,
          `${subscription.name} to be subscribed again`,
        );
        await publisherOf(t).trigger(subscription.name, 'headline', 'back');
        await subscription.event('headline');
      }
    });

    for (const transport of ['xhr_streaming', 'xhr_polling']) {
      test(`§14 ${transport} works across origins`, async (t) => {
        const options = { ...fallbackOptions(route.subscribeEdge, [transport]), ...(await identifiedAs(t, apps.main)) };
        const page = await chromium.connect(t, route.subscribeEdge, apps.main, options);
        const subscription = await page.subscribe(unique('private-news'));
        await publisherOf(t).trigger(subscription.name, 'headline', 1);
        assert.equal((await subscription.event('headline')).data, 1);
      });
    }

    test('the position beside an event is nothing to it', async (t) => {
      const page = await inBrowser(t);
      const subscription = await page.subscribe(unique('news'));
      const witness = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      await witness.subscribe(subscription.name);
      const metadata = await subscription.withMetadata('headline');
      await publisherOf(t).trigger(subscription.name, 'headline', { text: 'hello' });
      assert.equal(typeof (await witness.event('headline')).position, 'string');
      assert.deepEqual(await metadata.count(1), [{ data: { text: 'hello' }, metadata: {} }]);
      assert.deepEqual(subscription.events.items, [{ event: 'headline', data: { text: 'hello' } }]);
      assert.deepEqual(page.errors.items, []);
    });
  });
}
