// Edges and NATS fail while clients publish, listen and are present: every message once and in order at every client,
// every publish acknowledged once, nobody seen to leave. Each test leaves the site whole.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { serverOf } from '../../harness/ably/credentials.js';
import { EventReader } from '../../harness/ably/event_stream.js';
import { seats } from '../../harness/ably/load.js';
import { apps, withKey } from '../../harness/apps.js';
import { FrontDoor } from '../../harness/front_door.js';
import { unique } from '../../harness/names.js';
import { assertSame, sequence } from '../../harness/sequences.js';
import { eventually } from '../../harness/wait.js';

const APP = apps.ably;
const SEATS = 8;
const CHANNELS = 3;
/** Acknowledged messages of each client before and after whatever happens. */
const SOME = 30;
/** An election of NATS takes 4 to 9 seconds, more on a busy machine. */
const AWAY_MS = 120_000;
const PAUSE_MS = 5_000;
const UNANSWERED_MS = 3_000;
const TEST_MS = 900_000;
const GOING_AWAY = 50320;

export function underFire(site) {
  async function survives(t, fault) {
    const names = sequence(CHANNELS).map(() => unique('fire'));
    const crowd = await seats(t, site.edges, APP, names, SEATS);
    const doors = crowd.map(({ client }) => client.door);
    const streamDoor = await FrontDoor.open(t, site.edges[1]);
    const stream = await EventReader.open(t, streamDoor, APP, names);
    await Promise.all(crowd.map(({ channel, name }) => channel.channel.presence.enter(name)));
    const watched = await crowd[0].channel.watch();
    crowd.forEach((seat) => seat.start());
    await Promise.all(crowd.map((seat) => seat.goesOn(SOME)));
    await fault([...doors, streamDoor]);
    await Promise.all(crowd.map((seat) => seat.goesOn(SOME, AWAY_MS)));
    crowd.forEach((seat) => seat.stop());
    const published = await Promise.all(crowd.map((seat) => seat.finished()));
    await Promise.all(names.map((name) => crowd[0].client.channel(name).channel.publish('end', {})));
    t.diagnostic(`${published.reduce((sum, count) => sum + count, 0)} published by ${SEATS} clients`);

    for (const [index, seat] of crowd.entries()) {
      assert.deepEqual(seat.refused, [], `${seat.name}: nothing is refused`);
      assertSame(
        seat.acknowledged.map(({ number }) => number),
        sequence(published[index]),
        `acknowledged to ${seat.name}`,
      );
    }
    for (const name of names) {
      const views = await Promise.all(
        crowd.map(async ({ client }) => {
          const channel = client.channel(name);
          await channel.message('end', AWAY_MS);
          return channel.messages.items.slice(0, -1);
        }),
      );
      const [first] = views;
      views.forEach((view, index) =>
        assertSame(
          view.map(({ id }) => id),
          first.map(({ id }) => id),
          `seen by ${crowd[index].name}`,
        ),
      );
      const lines = crowd.filter(({ channel }) => channel.name === name);
      for (const { name: source, acknowledged } of lines) {
        const ofSource = first.filter((message) => message.name === source);
        assertSame(
          ofSource.map(({ data }) => data.number),
          acknowledged.map(({ number }) => number),
          `of ${source}`,
        );
        assertSame(
          ofSource.map(({ serial }) => serial),
          acknowledged.map(({ serial }) => serial),
          `serials of ${source}`,
        );
      }
      await stream.messages.find(
        ({ message }) => message.channel === name && message.name === 'end',
        `the end of ${name} in the stream`,
        AWAY_MS,
      );
      const streamed = stream.messages.items.filter(({ message }) => message.channel === name).slice(0, -1);
      assertSame(
        streamed.map(({ message }) => message.id),
        first.map(({ id }) => id),
        `in the stream of ${name}`,
      );
    }
    // A drain says so before it ends a stream.
    assert.deepEqual(
      stream.errors.items.filter(({ code }) => code !== GOING_AWAY),
      [],
    );
    const here = crowd.filter(({ channel }) => channel.name === watched.name).map(({ name }) => [name, name]);
    await watched.knows(Object.fromEntries(here), AWAY_MS);
    assert.deepEqual(
      watched.presence.items.filter(({ action }) => action === 'leave').map(({ clientId }) => clientId),
      [],
    );
  }

  describe('under fire', () => {
    test('an edge is killed', { timeout: TEST_MS }, async (t) => {
      const [stays, goes] = site.edges;
      const survived = survives(t, async (doors) => {
        doors.forEach((door) => door.leadTo(stays));
        await goes.kill();
      });
      await survived.finally(() => goes.start());
    });

    test('an edge is drained', { timeout: TEST_MS }, async (t) => {
      const [stays, goes] = site.edges;
      const survived = survives(t, async (doors) => {
        goes.beginDrain();
        const isDraining = async () => !(await goes.isReady().catch(() => false));
        await eventually(isDraining, 'the edge to be no longer ready');
        doors.forEach((door) => door.leadTo(stays));
        await goes.drained();
      });
      await survived.finally(() => goes.start());
    });

    test('connections are cut', { timeout: TEST_MS }, (t) =>
      survives(t, async (doors) => {
        doors.forEach((door) => {
          door.leadTo(...site.edges);
          door.cut();
        });
      }),
    );

    test('NATS stands still for five seconds', { timeout: TEST_MS }, (t) =>
      survives(t, async () => {
        const all = site.nats.nodes;
        all.forEach(({ server }) => server.signal('SIGSTOP'));
        // The fault itself, not a wait for anything.
        await sleep(PAUSE_MS);
        all.forEach(({ server }) => server.signal('SIGCONT'));
      }),
    );

    test('tokens are asked for and revoked while NATS stands still', { timeout: TEST_MS }, async (t) => {
      const rest = serverOf(site.edges[0], withKey(APP, '1050.revocable'));
      const all = site.nats.nodes;
      all.forEach(({ server }) => server.signal('SIGSTOP'));
      t.after(() => all.forEach(({ server }) => server.signal('SIGCONT')));
      const asked = rest.auth.requestToken({ clientId: 'ann' });
      const revoked = rest.auth.revokeTokens([{ type: 'clientId', value: unique('bob') }]);
      // Longer than one attempt to write either down, and too short for an election.
      await sleep(UNANSWERED_MS);
      all.forEach(({ server }) => server.signal('SIGCONT'));
      assert.equal((await asked).clientId, 'ann');
      const { successCount, failureCount } = await revoked;
      assert.deepEqual([successCount, failureCount], [1, 0]);
    });
  });
}
