// A cluster is replaced under load, as production does it: nobody loses, repeats or reorders a message, nobody is seen to
// leave, and what clients notice is told. Each test leaves the site whole.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { fanfareBinary, previousBinary } from '../harness/paths.js';
import { listeners } from '../harness/rollout/listeners.js';
import { Load } from '../harness/rollout/load.js';
import { LoadBalancer } from '../harness/rollout/load_balancer.js';
import { Members } from '../harness/rollout/members.js';
import { lines, spread, tally } from '../harness/rollout/report.js';
import { CHANNELS, DURATION_MS, GRACE_MS, LEASE_MS } from '../harness/rollout/settings.js';
import { APP } from '../harness/rollout/site.js';
import { assertSame, sequence } from '../harness/sequences.js';
import { SHARDS } from '../harness/settings.js';
import { channelsOfEveryShard } from '../harness/shards.js';
import { unique } from '../harness/names.js';

const TEST_MS = 900_000;
/** More than any client stays away. */
const AWAY_MS = 120_000;
/** Load before and after. */
const CALM_MS = 1_000;
/** Of the time in which an edge closes connections, the part that passes from the first to the last at least. */
const SPREAD = 0.25;
/** An edge with fewer clients says nothing about how they are spread. */
const FEWEST = 20;

/** Runs load, listeners and members while `change()` happens, checks what arrived, and tells what was noticed. */
async function underLoad(t, site, change, { keepAlive = true } = {}) {
  const balancer = LoadBalancer.start(t, site);
  const channels = channelsOfEveryShard(APP, SHARDS, CHANNELS / SHARDS);
  const audience = await listeners(t, balancer, channels, { keepAlive });
  const members = await Members.join(t, balancer, unique('presence-roll'));
  const load = await Load.start(t, balancer, channels, { keepAlive });
  await sleep(CALM_MS);
  const outcome = await change();
  await sleep(CALM_MS);
  await load.finish();
  await Promise.all(audience.map((listener) => listener.finished(AWAY_MS)));

  const tell = (line) => t.diagnostic(`rollout: ${line}`);
  lines(audience, load).forEach(tell);
  tell(`closed with ${tally(audience.flatMap(({ absences }) => absences).map(({ code }) => code))}`);
  const accepted = load.lanes.reduce((sum, lane) => sum + lane.accepted.length, 0);
  tell(`${accepted} messages published, answered after ${spread(load.lanes.flatMap(({ took }) => took))}`);
  if (load.errors.length > 0) tell(`failed publishes: ${tally(load.errors.map(({ text }) => text))}`);

  const complaints = audience.flatMap(({ name, complaints }) => complaints.map((text) => `${name}: ${text}`));
  assert.deepEqual(complaints, [], 'nobody was told that messages are lost');
  for (const channel of channels) assertDelivered(channel, audience, load);
  // Those whose edge has ended are forgotten by now, if they have not come back.
  await sleep(LEASE_MS);
  await members.everybodyIsThere();
  assert.deepEqual(members.rumours, [], 'what was told of members who never left');
  return { outcome, load, audience };
}

/** Every listener of a channel got the same, and of each lane everything that was acknowledged, once and in order. */
function assertDelivered(channel, audience, load) {
  const [first, ...others] = audience.filter((listener) => listener.channel === channel);
  for (const listener of others) assertSame(listener.seen, first.seen, `${listener.name} sees what ${first.name} does`);
  for (const lane of load.lanes.filter((lane) => lane.channel === channel)) {
    const numbers = first.seen
      .filter((text) => text.startsWith(`${lane.name}:`))
      .map((text) => Number(text.split(':')[1]));
    assert.equal(new Set(numbers).size, numbers.length, `nothing of ${lane.name} came twice`);
    const certain = numbers.filter((number) => !lane.unsure.includes(number));
    assertSame(certain, lane.accepted, `what was acknowledged to ${lane.name}`);
  }
}

/** Edges ended by themselves, said so, and sent their clients away evenly. */
function assertDrained(t, ends, audience) {
  for (const { node, begun, code, signal, closed, forced } of ends) {
    assert.deepEqual({ code, signal, forced }, { code: 0, signal: null, forced: 0 }, `${node.name}\n${node.output}`);
    const absences = audience.flatMap((listener) => listener.absences).filter((absence) => absence.node === node);
    const left = absences.map(({ lostAt }) => lostAt - begun).sort((a, b) => a - b);
    const [from, until] = [left.at(0), left.at(-1)];
    t.diagnostic(
      `rollout: ${node.name} closed ${closed} connections; ${left.length} listeners left it ` +
        `${from?.toFixed(0)} to ${until?.toFixed(0)} ms after SIGTERM`,
    );
    if (left.length < FEWEST) continue;
    // A busy machine makes clients leave later, several at once perhaps, but never sooner than it is their turn.
    left.forEach((ms, index) => {
      const turn = GRACE_MS + DURATION_MS * Math.min(1, index / closed);
      assert.ok(ms >= turn, `number ${index + 1} left ${node.name} after ${ms} ms, before its turn at ${turn} ms`);
    });
    assert.ok(until - from >= DURATION_MS * SPREAD, `clients of ${node.name} left at once`);
  }
}

export function rollout(site) {
  describe('a rollout under load', () => {
    test('three edges are replaced one by one', { timeout: TEST_MS }, async (t) => {
      const old = [...site.edges];
      const { outcome: ends, load, audience } = await underLoad(t, site, () => site.rollEdges(old, fanfareBinary()));
      assertDrained(t, ends, audience);
      assert.deepEqual(load.errors, []);
    });

    test('three NATS nodes are replaced one by one', { timeout: TEST_MS }, async (t) => {
      const { load, audience } = await underLoad(t, site, async () => {
        for (const node of site.nats.nodes) await site.nats.roll(node);
      });
      assert.deepEqual(
        audience.flatMap(({ absences }) => absences),
        [],
        'nobody was disconnected',
      );
      assert.deepEqual(load.errors, []);
    });
  });
}

/** From the last release to the present one, on a site that begins with the former; and an edge back again. */
export function upgrade(site) {
  const next = fanfareBinary();

  async function everything() {
    const [first, ...rest] = site.edges;
    const ends = await site.rollEdges([first], next);
    const control = await site.roll('control', next);
    ends.push(...(await site.rollEdges(rest, next)));
    const worker = await site.roll('worker', next);
    ends.push(...(await site.rollEdges([site.edges.at(-1)], previousBinary())));
    for (const { code } of [control, worker]) assert.equal(code, 0);
    return ends;
  }

  describe('an upgrade under load', () => {
    test('all processes are replaced by the next version, and an edge goes back', { timeout: TEST_MS }, async (t) => {
      // 0.1.0 closes idle connections at the moment when it begins to drain, and requests on their way fail.
      const { outcome: ends, load, audience } = await underLoad(t, site, everything, { keepAlive: false });
      assertDrained(t, ends, audience);
      assert.deepEqual(load.errors, []);
    });
  });
}
