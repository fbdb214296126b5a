// Who really is in which channel, as the clients know it: a user is there while at least one of its connections has a
// confirmed subscription. Knows the documented graces, too, and from them what nobody may be told of a user.

import { GRACE_MS, HANDOVER_MS, LAG_MS, LATE_MS, LEASE_LEFT_MS, LEASE_MS } from './settings.js';

/** How long a user stays at least when its last subscription ended like this. */
const STAYS_MS = {
  left: 0,
  /** By the server, for a reason that nothing is promised about. */
  closed: 0,
  dropped: GRACE_MS,
  /** On the way out the lease is renewed once more; the client may learn of its end late. */
  drained: HANDOVER_MS - LAG_MS,
  killed: LEASE_LEFT_MS,
};

/** How long it may stay at most: after a lease, and an election of NATS. */
const MAY_STAY_MS = LEASE_MS + LATE_MS + 30_000;
/** How long it is kept what has been, and how much of it is shown. */
const KEPT_MS = 600_000;
const SHOWN_SPANS = 6;

/** One subscription of one connection, from its request to its end. */
class Span {
  confirmed = false;
  /** When the user was there for sure. */
  #sure = [];
  /** Until when it may have been there. */
  #mayUntil = Infinity;
  #ended;

  constructor(truth, user, channel, life) {
    Object.assign(this, { truth, user, channel, life, asked: performance.now() });
  }

  get isOpen() {
    return this.#ended === undefined;
  }

  get mayUntil() {
    return this.#mayUntil;
  }

  get sure() {
    return this.#sure;
  }

  /** The server has confirmed it. */
  confirm() {
    if (!this.isOpen || this.confirmed) return;
    this.confirmed = true;
    this.truth.count(this, 1);
    this.beSure();
    if (this.life.pausedAt !== undefined) this.doubt();
  }

  /** The user is there for sure from now on. */
  beSure() {
    this.#sure.push({ from: performance.now(), until: Infinity });
  }

  /** The connection is open, but its edge is paused. */
  doubt() {
    this.#endSure(this.life.pausedAt + LEASE_LEFT_MS);
  }

  /** It has ended; `how` is one of `STAYS_MS`. */
  end(how) {
    if (!this.isOpen) return;
    this.#ended = { at: performance.now(), how };
    if (this.confirmed) this.truth.count(this, -1);
    this.#endSure((how === 'killed' ? this.life.end.at : performance.now()) + STAYS_MS[how]);
    this.#mayUntil = performance.now() + MAY_STAY_MS;
  }

  describe(clock) {
    const sure = this.#sure.map(({ from, until }) => `${clock(from)}-${until === Infinity ? '' : clock(until)}`);
    const ended = this.#ended ? `${this.#ended.how} ${clock(this.#ended.at)}` : 'open';
    return `${this.life.name}: asked ${clock(this.asked)}, there for sure ${sure.join(' ') || 'never'}, ${ended}`;
  }

  #endSure(at) {
    for (const sure of this.#sure) sure.until = Math.min(sure.until, at);
  }
}

export class Truth {
  /** Spans by channel and user. */
  #spans = new Map();
  /** By channel, how many confirmed subscriptions each user has. */
  #counts = new Map();

  /** A connection to `life` asks for a subscription. */
  ask(user, channel, life) {
    const key = `${channel} ${user}`;
    const span = new Span(this, user, channel, life);
    const kept = (this.#spans.get(key) ?? []).filter(({ mayUntil }) => mayUntil > performance.now() - KEPT_MS);
    this.#spans.set(key, [...kept, span]);
    return span;
  }

  count({ user, channel }, change) {
    const users = this.#counts.get(channel) ?? new Map();
    this.#counts.set(channel, users);
    const count = (users.get(user) ?? 0) + change;
    if (count > 0) users.set(user, count);
    else users.delete(user);
  }

  /** The users in a channel, with the number of their connections. */
  present(channel) {
    return this.#counts.get(channel) ?? new Map();
  }

  subscriptions(channel) {
    return [...this.present(channel).values()].reduce((sum, count) => sum + count, 0);
  }

  /** Whether a user was there all the time. */
  wasSurelyThere(user, channel, from, to) {
    const sure = this.#of(user, channel).flatMap((span) => span.sure);
    let covered = from;
    for (const { from: begin, until } of sure.sort((a, b) => a.from - b.from)) {
      if (begin > covered) return false;
      covered = Math.max(covered, until);
      if (covered >= to) return true;
    }
    return false;
  }

  /** Whether a user may have been there at any time. */
  mayHaveBeenThere(user, channel, from, to) {
    return this.#of(user, channel).some(({ asked, mayUntil }) => asked <= to && mayUntil >= from);
  }

  /** Whether a user has begun to subscribe since then. */
  askedSince(user, channel, since) {
    return this.#of(user, channel).some(({ asked }) => asked >= since);
  }

  /** The users who are in a channel only by connections to `life`: `{ user, channel }`. */
  onlyAt(life) {
    const open = [...this.#spans.values()].map((spans) => spans.filter(({ isOpen }) => isOpen));
    const confirmed = open.filter((spans) => spans.some((span) => span.confirmed));
    const only = confirmed.filter((spans) => spans.every((span) => span.life === life));
    return only.map(([{ user, channel }]) => ({ user, channel }));
  }

  /** Nothing is sure about those at `life` any more, which is paused. */
  doubt(life) {
    this.#openAt(life).forEach((span) => span.doubt());
  }

  /** Everybody agrees again that those at `life` are there. */
  trust(life) {
    this.#openAt(life).forEach((span) => span.beSure());
  }

  describe(user, channel, clock) {
    const spans = this.#of(user, channel).slice(-SHOWN_SPANS);
    return spans.map((span) => span.describe(clock));
  }

  #of(user, channel) {
    return this.#spans.get(`${channel} ${user}`) ?? [];
  }

  #openAt(life) {
    const spans = [...this.#spans.values()].flat();
    return spans.filter((span) => span.life === life && span.isOpen && span.confirmed);
  }
}
