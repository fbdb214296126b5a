// Keys that may do only some things, or only on some channels.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps, withKey } from '../harness/apps.js';
import { authEndpoint, authorizedBy } from '../harness/auth_endpoint.js';
import { unique } from '../harness/names.js';
import { publisher, refusal } from '../harness/publisher.js';
import { Subscriber } from '../harness/subscriber.js';

const REFUSED = 403;

export function restrictedKeys(route) {
  const key = (name) => withKey(apps.restricted, name);
  const connect = (t, name) => Subscriber.connect(t, route.subscribeEdge, key(name));
  const publisherOf = (t, name) => publisher(t, route.publishEdge, key(name));

  async function assertMayNotPublish(promise) {
    assert.equal((await refusal(promise)).status, REFUSED);
  }

  async function assertMayNotSubscribe(subscriber, channel) {
    const { data } = await subscriber.join(channel).notice('pusher:subscription_error');
    assert.deepEqual([data.type, data.status], ['AuthError', REFUSED]);
  }

  describe('restricted keys', () => {
    test('a key that may only publish', async (t) => {
      const receiving = await (await connect(t, 'restricted-all')).subscribe(unique('any'));
      await publisherOf(t, 'restricted-publish').trigger(receiving.name, 'event', 1);
      await receiving.event('event');
      await assertMayNotSubscribe(await connect(t, 'restricted-publish'), receiving.name);
    });

    test('a key that may only subscribe', async (t) => {
      const receiving = await (await connect(t, 'restricted-subscribe')).subscribe(unique('any'));
      await assertMayNotPublish(publisherOf(t, 'restricted-subscribe').trigger(receiving.name, 'refused', 1));
      await publisherOf(t, 'restricted-all').trigger(receiving.name, 'last', 2);
      await receiving.event('last');
      assert.equal(receiving.events.items.length, 1);
    });

    test('a key for one channel', async (t) => {
      const other = unique('other');
      const pusher = publisherOf(t, 'restricted-news');
      const subscriber = await connect(t, 'restricted-news');
      const news = await subscriber.subscribe('news');
      await assertMayNotSubscribe(subscriber, other);
      await assertMayNotPublish(pusher.trigger(other, 'refused', 1));
      await assertMayNotPublish(pusher.trigger(['news', other], 'refused', 1));
      const event = (channel) => ({ channel, name: 'refused', data: 1 });
      await assertMayNotPublish(pusher.triggerBatch([event('news'), event(other)]));
      await pusher.trigger('news', 'allowed', 2);
      await news.event('allowed');
      assert.deepEqual(
        news.events.items.map(({ event: name }) => name),
        ['allowed'],
      );
    });

    test('a signature adds no rights to the connection, nor the connection to the signature', async (t) => {
      const authorized = async (connected, signed) => {
        const endpoint = await authEndpoint(t, key(signed));
        return Subscriber.connect(t, route.subscribeEdge, key(connected), authorizedBy(endpoint));
      };
      await assertMayNotSubscribe(await authorized('restricted-news', 'restricted-all'), unique('private-any'));
      await assertMayNotSubscribe(await authorized('restricted-all', 'restricted-publish'), unique('private-any'));
      await (await authorized('restricted-all', 'restricted-subscribe')).subscribe(unique('private-any'));
    });

    test('client events need the right to publish', async (t) => {
      const endpoint = await authEndpoint(t, key('restricted-subscribe'));
      const options = authorizedBy(endpoint);
      const subscriber = await Subscriber.connect(t, route.subscribeEdge, key('restricted-subscribe'), options);
      const { channel } = await subscriber.subscribe(unique('private-chat'));
      channel.trigger('client-typing', {});
      const [error] = await subscriber.errors.count(1);
      assert.deepEqual([error.type, error.data.code], ['PusherError', null]);
    });
  });
}
