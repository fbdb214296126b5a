// A client that stops reading is cut; nobody waits for it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { publisher } from '../harness/publisher.js';
import { RawSocket } from '../harness/raw_socket.js';
import { Subscriber } from '../harness/subscriber.js';
import { eventually } from '../harness/wait.js';

const EVENT_BYTES = 10_000;
const BATCH = 10;
/** More than the kernel's socket buffers and any sensible queue hold together. */
const MOST_EVENTS = 8_000;
/** How often it is asked whether the slow one was cut. */
const EVENTS_PER_LOOK = 200;
/** Reconnect, but not at once. */
const CUT = 4100;
const TEST_MS = 600_000;

const padding = 'x'.repeat(EVENT_BYTES);

export function slowReader(route) {
  describe('a slow reader', () => {
    test('is cut while the others receive everything', { timeout: TEST_MS }, async (t) => {
      const channel = unique('flood');
      const slow = await RawSocket.connect(t, route.subscribeEdge, apps.main);
      await slow.subscribe(channel);
      const trace = unique('only-the-slow-one');
      await slow.subscribe(trace);
      const readers = [await reader(t, route.subscribeEdge, channel), await reader(t, route.publishEdge, channel)];

      slow.ws.pause();
      const sent = await publishUntil(t, channel, () => isVacant(t, trace));
      slow.ws.resume();

      // The close frame is lost if the connection is torn down with the queue still full.
      const { closed } = await slow.closed();
      assert.ok([CUT, 1006].includes(closed), `closed with ${closed}`);
      const expected = Array.from({ length: sent }, (_, index) => index);
      const received = slow.all('flood').map((frame) => JSON.parse(frame.data).index);
      assert.deepEqual(received, expected.slice(0, received.length), 'what the slow one got has no hole');
      for (const numbers of readers) {
        await eventually(() => numbers.length === sent, `all ${sent} events`);
        assert.deepEqual(numbers, expected);
      }
    });
  });

  /** The indexes that an attentive subscriber receives. */
  async function reader(t, edge, channel) {
    const numbers = [];
    const subscriber = await Subscriber.connect(t, edge, apps.main);
    subscriber.pusher.bind('flood', ({ index }) => numbers.push(index));
    await subscriber.subscribe(channel);
    return numbers;
  }

  /** Publishes until `done` says so, and answers how many events that took. */
  async function publishUntil(t, channel, done) {
    const pusher = publisher(t, route.publishEdge, apps.main);
    for (let sent = 0; sent < MOST_EVENTS; sent += BATCH) {
      if (sent % EVENTS_PER_LOOK === 0 && sent > 0 && (await done())) return sent;
      await pusher.triggerBatch(
        Array.from({ length: BATCH }, (_, index) => ({
          channel,
          name: 'flood',
          data: { index: sent + index, padding },
        })),
      );
    }
    throw new Error(`the slow reader was not cut after ${MOST_EVENTS} events of ${EVENT_BYTES} bytes`);
  }

  /** Whether the edge counts nobody on a channel any more. */
  async function isVacant(t, channel) {
    const response = await publisher(t, route.subscribeEdge, apps.main).get({ path: `/channels/${channel}` });
    return !(await response.json()).occupied;
  }
}
