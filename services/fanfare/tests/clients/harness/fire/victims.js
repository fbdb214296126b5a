// Who is in a channel by one edge only when that dies or stands still: everybody else has to see them go in time.

import { setTimeout as sleep } from 'node:timers/promises';
import { LATE_MS, LEASE_MS } from './settings.js';

/** How long after its death an edge's members may still be seen. */
const GONE_MS = LEASE_MS + LATE_MS;
const POLL_MS = 200;

const keyOf = ({ user, channel }) => `${channel} ${user}`;

export class Victims {
  /** After how long each departure was told to each of the others. */
  goneAfter = [];
  #fire;
  #life;
  #keys;
  #begun = performance.now();

  constructor(fire, life) {
    this.#fire = fire;
    this.#life = life;
    this.#keys = new Set(fire.truth.onlyAt(life).map(keyOf));
    fire.victims = this;
  }

  /** Somebody was told that a user is gone. */
  removed(list, user) {
    if (list.life === this.#life || !this.#isVictim({ user, channel: list.channel })) return;
    const ms = performance.now() - this.#begun;
    this.goneAfter.push(ms);
    if (ms <= GONE_MS) return;
    this.#fire.findings.add(`${list.name} after ${ms} ms`, `${user} of ${this.#life.name} gone too late`);
  }

  /** Waits until nobody else takes any of them for present. Departures from then on are others. */
  async expectGone() {
    while (this.#believers().length > 0 && performance.now() - this.#begun <= GONE_MS) await sleep(POLL_MS);
    this.#fire.victims = undefined;
    for (const { user, list } of this.#believers()) {
      const details = this.#fire.truth.describe(user, list.channel, this.#fire.findings.clock);
      this.#fire.findings.add(list.name, `${user} still there after a pause`, details);
    }
  }

  /** Who else still takes whom for present: `{ user, list }`. */
  #believers() {
    const still = this.#fire.truth.onlyAt(this.#life).filter((victim) => this.#isVictim(victim));
    const lists = this.#fire.lists.filter(({ life }) => life !== this.#life);
    return still.flatMap(({ user, channel }) =>
      lists.filter((list) => list.channel === channel && list.users.has(user)).map((list) => ({ user, list })),
    );
  }

  /** Whether somebody was there by that edge only, and has not been elsewhere since. */
  #isVictim(somebody) {
    const { user, channel } = somebody;
    return this.#keys.has(keyOf(somebody)) && !this.#fire.truth.askedSince(user, channel, this.#begun);
  }
}
