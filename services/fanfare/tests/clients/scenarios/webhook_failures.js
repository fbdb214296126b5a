// Receivers of webhooks that fail, hang, are slow or dead: nothing is lost, nothing else is held up.

import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { ACCEPT, HANG, fail, redirectTo, slowly } from '../harness/webhook_receiver.js';

/** More than the pauses between a handful of attempts. */
const RETRIED_MS = 180_000;
/** More than an attempt without an answer may take, and the next ones. */
const TIMED_OUT_MS = 180_000;
const TEST_MS = 900_000;
/** The pause before the first retry, less what chance takes away; each one is twice as long as the one before. */
const SHORTEST_PAUSE_MS = 250;
const TRIES = 4;

export function webhookFailures(route) {
  const app = apps.patient;
  const moody = () => route.receivers.steady.at('/moody');
  const calm = () => route.receivers.steady.at('/calm');
  const mortal = () => route.receivers.mortal.at('/');

  async function member(t, channel, id) {
    const socket = await RawSocket.connect(t, route.subscribeEdge, app);
    await socket.join(app, channel, { user_id: id });
    return socket;
  }

  const ids = Array.from({ length: 5 }, (_, number) => String(number));

  /** Makes five webhooks about one channel, in order, and returns its name. */
  async function fiveJoin(t) {
    const channel = unique('presence-room');
    for (const id of ids) await member(t, channel, id);
    return channel;
  }

  /** Waits until a target has accepted all five, and checks that each came once and in order. */
  async function allToldTo(target, channel, ms) {
    const events = await target.eventCount({ name: 'member_added', channel }, ids.length, ms);
    assert.deepEqual(
      events.map(({ user_id: id }) => id),
      ids,
    );
    return events;
  }

  describe('receivers of webhooks', () => {
    afterEach(() => moody().answering(ACCEPT));

    for (const status of [500, 404]) {
      test(
        `${status} is tried again, less and less often, in order, with the same valid body`,
        { timeout: TEST_MS },
        async (t) => {
          moody().answering(fail(status));
          const channel = await fiveJoin(t);
          const first = { name: 'channel_occupied', channel };
          const tries = await moody().requests.until(
            () => moody().attempts(first).length >= TRIES && moody().attempts(first),
            `${TRIES} attempts`,
            RETRIED_MS,
          );
          const pauses = tries.slice(1).map(({ at }, index) => at - tries[index].at);
          // A busy machine makes pauses longer, never shorter.
          pauses.forEach((ms, index) => {
            assert.ok(ms >= SHORTEST_PAUSE_MS * 2 ** index, `the pauses ${pauses} grow`);
          });
          await allToldTo(calm(), channel);
          moody().answering(ACCEPT);
          const [{ request }] = await allToldTo(moody(), channel, RETRIED_MS);
          assert.equal(
            publisher(t, route.publishEdge, app).webhook({ headers: request.headers, rawBody: request.body }).isValid(),
            true,
          );
          assert.deepEqual(new Set(tries.map(({ body }) => body)).size, 1);
        },
      );
    }

    test('a receiver that hangs is given up on, tried again, and delays nobody', { timeout: TEST_MS }, async (t) => {
      moody().answering(HANG);
      const channel = await fiveJoin(t);
      await allToldTo(calm(), channel);
      const first = { name: 'channel_occupied', channel };
      await moody().requests.until(() => moody().attempts(first).length >= 2, 'a second attempt', TIMED_OUT_MS);
      moody().answering(ACCEPT);
      await allToldTo(moody(), channel, TIMED_OUT_MS);
    });

    test('a slow receiver gets everything once, in order, and delays nobody', { timeout: TEST_MS }, async (t) => {
      moody().answering(slowly(1_500));
      const channel = await fiveJoin(t);
      const calmEvents = await allToldTo(calm(), channel);
      const slowEvents = await allToldTo(moody(), channel, RETRIED_MS);
      assert.ok(calmEvents.at(-1).request.at < slowEvents.at(-1).request.at);
      for (const id of ids) assert.equal(moody().attempts({ channel, user_id: id }).length, 1);
    });

    test('a receiver that is dead for a while gets everything when it is back', { timeout: TEST_MS }, async (t) => {
      t.after(() => route.receivers.mortal.stop().then(() => route.receivers.mortal.start()));
      await allToldTo(mortal(), await fiveJoin(t));
      await route.receivers.mortal.stop();
      const channel = await fiveJoin(t);
      await allToldTo(calm(), channel);
      assert.deepEqual(mortal().all({ channel }), []);
      await route.receivers.mortal.start();
      await allToldTo(mortal(), channel, RETRIED_MS);
    });

    test('a redirect is not followed', { timeout: TEST_MS }, async (t) => {
      const elsewhere = route.receivers.steady.at('/elsewhere');
      moody().answering(redirectTo(`${route.receivers.steady.url}/elsewhere`));
      const channel = await fiveJoin(t);
      const first = { name: 'channel_occupied', channel };
      await moody().requests.until(() => moody().attempts(first).length >= 2, 'a second attempt', RETRIED_MS);
      assert.deepEqual(elsewhere.requests.items, []);
      moody().answering(ACCEPT);
      await allToldTo(moody(), channel, RETRIED_MS);
    });
  });
}
