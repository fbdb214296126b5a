// What goes wrong while the crowd goes on. Each leaves the site whole.

import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from './random.js';
import { GRACE_MS, LATE_MS, LEASE_MS, PAUSE_MS, SEED } from './settings.js';
import { Victims } from './victims.js';

/** The stream behind the bucket of members. */
const ROSTER_STREAM = 'KV_fanfare-roster';
/** The part of all connections that are cut at once. */
const CUT = 0.6;
/** Actions of the crowd before and after each. */
const ACTIONS = 120;
/** An election of NATS takes up to 9 s, in which nobody can join. */
const ACT_MS = 240_000;

/** How long everybody may take to agree after each. */
export const AGREED_MS = {
  none: GRACE_MS + LATE_MS,
  killEdge: LEASE_MS + LATE_MS,
  killNatsLeader: GRACE_MS + LATE_MS,
  cutConnections: GRACE_MS + LATE_MS,
  pauseEdge: LEASE_MS + LATE_MS,
  drainEdge: LEASE_MS + LATE_MS,
};

/** What one leaves behind: `victims`, the edge that was `paused`, and how to say that news come in time again. */
export class Faults {
  #fire;
  #random = new Random(SEED, 'faults');

  constructor(fire) {
    this.#fire = fire;
  }

  /** The names of all, in the order of this round. */
  round() {
    return this.#random.shuffled(Object.keys(AGREED_MS).filter((name) => name !== 'none'));
  }

  /** Nothing but churn. */
  none() {
    return this.#churn();
  }

  /** `kill -9` of an edge, and another in its place. */
  async killEdge() {
    const { site, report } = this.#fire;
    const life = this.#pickEdge();
    this.#leadAway(life);
    const victims = new Victims(this.#fire, life);
    report.count('edges killed');
    await site.kill(life);
    await site.succeed(life);
    await this.#churn();
    return { victims };
  }

  /** `kill -9` of the NATS node that leads the members' stream. */
  async killNatsLeader() {
    const { site, report, findings } = this.#fire;
    const isOver = findings.disturb();
    const leader = await site.nats.leaderOfMost(ROSTER_STREAM);
    report.count('NATS leaders killed');
    await site.nats.kill(leader);
    await this.#churn();
    await site.nats.restart(leader);
    await this.#churn();
    return { isOver };
  }

  /** Most connections end at once, without a word. */
  async cutConnections() {
    const { crowd, watchers, report } = this.#fire;
    const connections = crowd.seats.map(({ connection }) => connection).filter(Boolean);
    const doomed = [...connections, ...watchers].filter(() => this.#random.happens(CUT));
    report.count('connections cut', doomed.length);
    for (const connection of doomed) connection.cut();
    await this.#churn();
  }

  /** An edge stands still for longer than its lease, and goes on. */
  async pauseEdge() {
    const { site, report, truth, findings } = this.#fire;
    const life = this.#pickEdge();
    const victims = new Victims(this.#fire, life);
    report.count('edges paused');
    const isOver = findings.disturb(life);
    site.pause(life);
    truth.doubt(life);
    // How long it stands still is what is tested here; the others go on.
    await sleep(PAUSE_MS);
    await victims.expectGone();
    site.resume(life);
    await this.#churn();
    return { victims, isOver, paused: life };
  }

  /** An edge is stopped orderly, and another takes its place; who comes back in time was never away. */
  async drainEdge() {
    const { site, report, watchers } = this.#fire;
    const life = this.#pickEdge();
    this.#leadAway(life);
    report.count('edges drained');
    const end = await site.drain(life);
    if (end.code !== 0) this.#fire.findings.add(life.name, `ended with ${JSON.stringify(end)} after SIGTERM`);
    await Promise.all(watchers.map((watcher) => watcher.settled()));
    await site.succeed(life);
    await this.#churn();
  }

  #churn() {
    return this.#fire.crowd.act(ACTIONS, ACT_MS);
  }

  #pickEdge() {
    return this.#random.pick(this.#fire.site.open);
  }

  #leadAway(life) {
    const elsewhere = this.#fire.site.open.filter((open) => open !== life);
    const those = this.#fire.watchers.filter((watcher) => watcher.life === life);
    those.forEach((watcher) => watcher.leadTo(this.#random.pick(elsewhere)));
  }
}
