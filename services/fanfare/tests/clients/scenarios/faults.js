// NATS nodes that end under load. Each test leaves the site whole.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apps } from '../harness/apps.js';
import { Load } from '../harness/load.js';
import { KEPT_MESSAGES, SHARDS, SHARD_STREAMS } from '../harness/settings.js';
import { channelsOfEveryShard } from '../harness/shards.js';
import { signedGet } from '../harness/signed_request.js';
import { Subscriber } from '../harness/subscriber.js';

const CHANNELS_PER_SHARD = 2;
const SUBSCRIBERS_PER_EDGE = 2;
/** Events of each channel through each edge, before and after whatever happens. */
const EVENTS = 20;
/** Electing a leader takes 4 to 9 seconds, more on a busy machine. */
const ELECTION_MS = 120_000;
const TEST_MS = 900_000;
/** How much of two lists is shown where they differ. */
const SHOWN_BEFORE = 3;
const SHOWN = 10;

const sequence = (length) => Array.from({ length }, (_, index) => index);

/** Subscribers of all channels, on all edges. */
async function audience(t, edges, channels) {
  const seats = edges.flatMap((edge) => sequence(SUBSCRIBERS_PER_EDGE).map(() => edge));
  const subscribers = await Promise.all(seats.map((edge) => Subscriber.connect(t, edge, apps.main)));
  const joined = subscribers.flatMap((subscriber) => channels.map((channel) => subscriber.subscribe(channel)));
  return { subscribers, subscriptions: await Promise.all(joined) };
}

/** What a channel has held: all that is kept, page after page. */
async function history(edge, channel) {
  const events = [];
  for (let query = {}; ; query = { after: events.at(-1).position }) {
    const response = await signedGet(edge, apps.main, `/channels/${channel}/events`, { query });
    assert.equal(response.status, 200, response.text);
    const page = response.json();
    events.push(...page.events);
    assert.ok(page.complete, `nothing is missing after ${query.after} in the history of ${channel}`);
    if (page.more) continue;
    assert.equal(page.head, events.at(-1).position);
    return events.map(({ name, data }) => ({ event: name, data: JSON.parse(data) }));
  }
}

/** Fails with what surrounds the first difference; the lists are too long to show. */
function assertSame(actual, expected, what) {
  const isSame = (index) => JSON.stringify(actual[index]) === JSON.stringify(expected[index]);
  const index = sequence(Math.max(actual.length, expected.length)).findIndex((index) => !isSame(index));
  if (index < 0) return;
  const around = (list) => list.slice(Math.max(0, index - SHOWN_BEFORE), index + SHOWN);
  assert.deepEqual(around(actual), around(expected), `${what}, at ${index} of ${expected.length}`);
}

/** What one lane has published is in `seen`: what was accepted once and in order, what is uncertain once at most. */
function assertPublished({ source, channel, accepted, unsure }, seen) {
  const numbers = seen.filter(({ data }) => data.source === source).map(({ data }) => data.number);
  assert.equal(new Set(numbers).size, numbers.length, `nothing came twice on ${channel}`);
  const certain = numbers.filter((number) => !unsure.includes(number));
  assertSame(certain, accepted, `what edge ${source} accepted for ${channel}`);
}

/** Nobody was disconnected, nor told of a gap (which closes the connection, with 4200). */
function assertUndisturbed({ errors, states }) {
  assert.deepEqual(errors.items, []);
  assert.deepEqual(states.items.slice(states.items.indexOf('connected')), ['connected']);
}

export function faults(site) {
  /** Runs load and subscribers on all edges while `fault(load)` happens, and checks what arrived. */
  async function underLoad(t, fault) {
    const { edges } = site;
    const channels = channelsOfEveryShard(apps.main, SHARDS, CHANNELS_PER_SHARD);
    const { subscribers, subscriptions } = await audience(t, edges, channels);
    const load = Load.start(t, edges, apps.main, channels);
    await load.goesOn(EVENTS);
    await fault(load);
    await load.finish();
    t.diagnostic(load.summary);

    for (const subscription of subscriptions) await subscription.event('end');
    subscribers.forEach(assertUndisturbed);
    for (const channel of channels) {
      const ofChannel = subscriptions.filter(({ name }) => name === channel);
      const [seen, ...others] = ofChannel.map(({ events }) => events.items);
      others.forEach((other) => assertSame(other, seen, `all subscribers of ${channel} see the same`));
      load.lanes.filter((lane) => lane.channel === channel).forEach((lane) => assertPublished(lane, seen));
      for (const edge of edges) {
        assertSame(await history(edge, channel), seen.slice(-KEPT_MESSAGES), `history of ${channel} at ${edge.name}`);
      }
    }
  }

  /** Publishing goes on without the node, and when it is back. */
  async function goesOnWithout(node, load) {
    await load.goesOn(EVENTS, ELECTION_MS);
    await site.nats.restart(node);
    await load.goesOn(EVENTS, ELECTION_MS);
  }

  describe('every accepted event reaches every subscriber once, in one order, and is in history', () => {
    test('a NATS node that leads shards is killed', { timeout: TEST_MS }, (t) =>
      underLoad(t, async (load) => {
        const leader = await site.nats.leaderOfMost(SHARD_STREAMS);
        await site.nats.kill(leader);
        await goesOnWithout(leader, load);
      }),
    );

    test('a NATS node that leads shards is stopped orderly', { timeout: TEST_MS }, (t) =>
      underLoad(t, async (load) => {
        const leader = await site.nats.leaderOfMost(SHARD_STREAMS);
        await site.nats.terminate(leader);
        await goesOnWithout(leader, load);
      }),
    );

    test('all NATS nodes are restarted in turn, and nobody is disconnected', { timeout: TEST_MS }, (t) =>
      underLoad(t, async (load) => {
        for (const node of site.nats.nodes) {
          await site.nats.terminate(node);
          await goesOnWithout(node, load);
        }
      }),
    );
  });
}
