// Over the HTTP fallback pusher-js has everything that it has over WebSocket, in pages of any origin.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { identifiedAs } from '../harness/auth_endpoint.js';
import { request } from '../harness/http.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { signedGet } from '../harness/signed_request.js';
import { Subscriber, fallbackOptions } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

export function fallbackChannels(route) {
  async function connect(t, transport, { id = 'ann', app = apps.main } = {}) {
    const identity = { member: { user_id: id }, user: { id } };
    const options = { ...fallbackOptions(route.subscribeEdge, [transport]), ...(await identifiedAs(t, app, identity)) };
    return Subscriber.connect(t, route.subscribeEdge, app, options);
  }

  const publisherOf = (t) => publisher(t, route.publishEdge, apps.main);

  for (const transport of ['xhr_streaming', 'xhr_polling']) {
    describe(`§14 ${transport}`, () => {
      test('receives on all kinds of channels, and sends client events', async (t) => {
        const subscriber = await connect(t, transport);
        const other = await connect(t, transport, { id: 'bob' });
        for (const prefix of ['news', 'private-news', 'presence-room', 'private-encrypted-news', 'cache-news']) {
          const subscription = await subscriber.subscribe(unique(prefix));
          await publisherOf(t).trigger(subscription.name, 'headline', { text: 'Zoë 🚀 "\u2028"' });
          assert.deepEqual((await subscription.event('headline')).data, { text: 'Zoë 🚀 "\u2028"' });
        }
        const channel = unique('presence-chat');
        const [mine, theirs] = [await subscriber.subscribe(channel), await other.subscribe(channel)];
        await mine.added('bob');
        theirs.trigger('client-typing', 1);
        assert.equal((await mine.event('client-typing')).data, 1);
        assert.deepEqual(subscriber.errors.items, []);
      });

      test('signs in', async (t) => {
        const id = unique('user');
        const subscriber = await connect(t, transport, { id });
        await subscriber.signIn();
        await publisherOf(t).sendToUser(id, 'for-you', 1);
        await subscriber.userEvents.count(1);
      });

      test('who is gone without a word leaves the channels', async (t) => {
        const subscriber = await connect(t, transport);
        const { name } = await subscriber.subscribe(unique('news'));
        const isOccupied = async () =>
          (await signedGet(route.subscribeEdge, apps.main, `/channels/${name}`)).json().occupied;
        await eventually(isOccupied, `${name} to be occupied`);
        subscriber.disconnect();
        await eventually(async () => !(await isOccupied()), `${name} to be vacant`);
      });
    });
  }

  describe('§14 the HTTP fallback', () => {
    test('pages of any origin may ask', async () => {
      const { port } = route.subscribeEdge;
      for (const name of ['xhr_streaming', 'xhr', 'xhr_send']) {
        const path = `/pusher/app/${apps.main.key}/123/abcdefgh/${name}?protocol=7`;
        const headers = {
          origin: 'https://shop.example',
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'content-type',
        };
        const answer = await request({ port, method: 'OPTIONS', path, headers });
        assert.ok([200, 204].includes(answer.status), `${name} answered ${answer.status}`);
        assert.equal(answer.headers['access-control-allow-origin'], '*');
        assert.match(answer.headers['access-control-allow-methods'], /POST/);
        assert.match(answer.headers['access-control-allow-headers'], /content-type/i);
      }
      const path = `/pusher/app/${apps.main.key}/123/abcd0123/xhr_send`;
      const answer = await request({ port, method: 'POST', path, body: '[]' });
      assert.equal(answer.status, 404);
      assert.equal(answer.headers['access-control-allow-origin'], '*');
    });
  });
}
