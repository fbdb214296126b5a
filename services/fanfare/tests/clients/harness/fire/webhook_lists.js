// What the application learns by webhooks: which channels are occupied and who is in them, from changes that alternate.

import { setTimeout as sleep } from 'node:timers/promises';
import { MemberList, difference } from './member_list.js';
import { CHANNELS, WEBHOOK_PATH } from './settings.js';

const POLL_MS = 200;
/** Where the lists of channels are kept as if they were users of one. */
const OCCUPIED = 'the list of occupied channels';

export class WebhookLists {
  /** How often something was told once more, as may happen when who tells it or NATS dies before that is noted. */
  repeated = 0;
  #fire;
  #events;
  #taken = 0;
  #occupied = new Set();
  #lists;

  constructor(fire) {
    this.#fire = fire;
    this.#events = fire.site.receiver.at(WEBHOOK_PATH).events;
    const listener = { name: 'webhooks', findings: fire.webhookFindings };
    this.#lists = new Map(CHANNELS.map((channel) => [channel, new MemberList(listener, channel)]));
  }

  /** Waits until they agree with the truth; answers how long it took. */
  async agreement(ms) {
    const begun = performance.now();
    for (;;) {
      this.#takeAll();
      const differences = this.#differences();
      if (differences.length === 0) return performance.now() - begun;
      if (performance.now() - begun > ms) {
        throw new Error(`after ${ms} ms of quiet webhooks differ from the truth:\n    ${differences.join('\n    ')}`);
      }
      await sleep(POLL_MS);
    }
  }

  #takeAll() {
    const { items } = this.#events;
    for (; this.#taken < items.length; this.#taken += 1) this.#take(items[this.#taken]);
  }

  #take({ name, channel, user_id: user }) {
    const list = this.#lists.get(channel);
    switch (name) {
      case 'member_added':
        return this.#unlessRepeated(list.users.has(user), () => list.added(user));
      case 'member_removed':
        return this.#unlessRepeated(!list.users.has(user), () => list.removed(user));
      case 'channel_occupied':
        return this.#exists(channel, true);
      case 'channel_vacated':
        return this.#exists(channel, false);
      default:
        return this.#fire.findings.add('webhooks', `an event ${name}, which nobody asked for`);
    }
  }

  #exists(channel, isOccupied) {
    this.#unlessRepeated(this.#occupied.has(channel) === isOccupied, () => {
      if (this.#occupied.has(channel) === isOccupied) {
        this.#fire.findings.add('webhooks', `${channel} ${isOccupied ? 'occupied' : 'vacated'} twice in a row`);
      }
      if (isOccupied) this.#occupied.add(channel);
      else this.#occupied.delete(channel);
    });
  }

  /** Telling twice is allowed where a worker or a leader of NATS has just died, and nowhere else. */
  #unlessRepeated(isKnown, take) {
    if (isKnown && this.#fire.workersMayRepeat) this.repeated += 1;
    else take();
  }

  #differences() {
    const { truth } = this.#fire;
    const members = CHANNELS.map((channel) => this.#lists.get(channel).differenceTo(truth.present(channel)));
    const occupied = CHANNELS.filter((channel) => truth.subscriptions(channel) > 0);
    const missing = occupied.filter((channel) => !this.#occupied.has(channel));
    const excess = [...this.#occupied].filter((channel) => !occupied.includes(channel));
    return [...members, difference(OCCUPIED, missing, excess)].filter(Boolean);
  }
}
