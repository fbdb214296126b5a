// A channel's members as somebody keeps them from a snapshot and what is told afterwards, each change judged: a user is
// added and removed in turns, not removed while certainly there, and not added while certainly away.

const KEPT_CHANGES = 6;
const SHOWN_FINDINGS = 5;

/** What was told that must not be. */
export class Findings {
  /** By what is wrong: `{ text, count }`, the first of its kind. */
  #items = new Map();
  /** `{ life, from, until }` of times during which news may be late; without `life`, everywhere. */
  #disturbances = [];
  #begun = performance.now();
  #underWayMs;

  /** `underWayMs` is how long a change may be under way to an undisturbed listener. */
  constructor(truth, underWayMs) {
    this.truth = truth;
    this.#underWayMs = underWayMs;
  }

  clock = (at) => `${((at - this.#begun) / 1_000).toFixed(3)}s`;

  /** Notes one: who was told, what is wrong, and what helps to understand it. */
  add(who, what, details = []) {
    const item = this.#items.get(what) ?? { text: this.#text(who, what, details), count: 0 };
    item.count += 1;
    this.#items.set(what, item);
  }

  /** Everything under way at `life` may be late from now on; returns how to say that this is over. */
  disturb(life) {
    const disturbance = { life, from: performance.now(), until: Infinity };
    this.#disturbances.push(disturbance);
    return () => (disturbance.until = performance.now());
  }

  /** The earliest time of which somebody at `life` may have been told at `at`. */
  toldOf(life, at) {
    const early = at - this.#underWayMs;
    const concerned = this.#disturbances.filter(
      (disturbance) => (!disturbance.life || disturbance.life === life) && disturbance.until >= early,
    );
    const begun = concerned.map(({ from }) => from).filter((from) => from <= at);
    return Math.min(early, ...begun.map((from) => from - this.#underWayMs));
  }

  /** The first of them in words; empty if there are none. */
  get text() {
    if (this.#items.size === 0) return '';
    const shown = [...this.#items.values()].slice(0, SHOWN_FINDINGS);
    const lines = shown.map(({ text, count }) => `\n    (${count} times) ${text}`);
    return `${this.#items.size} things were told that must not be; first:${lines.join('')}`;
  }

  #text(who, what, details) {
    return [`${this.clock(performance.now())} ${who}: ${what}`, ...details].join('\n      ');
  }
}

export class MemberList {
  users = new Set();
  /** What was told of each user, newest last: `{ what, at }`. */
  #changes = new Map();
  #listener;
  #begun = performance.now();

  /** `listener` is `{ name, life, findings, removed }`, where `removed(list, user)` wants to know of departures. */
  constructor(listener, channel, users = []) {
    this.#listener = listener;
    this.channel = channel;
    this.users = new Set(users);
  }

  get life() {
    return this.#listener.life;
  }

  get name() {
    return `${this.#listener.name} on ${this.channel}`;
  }

  added(user) {
    if (this.users.has(user)) return this.#found(user, `member_added of ${user}, who is there already`);
    const { truth } = this.#listener.findings;
    if (!truth.mayHaveBeenThere(user, this.channel, this.#since(user), performance.now())) {
      this.#found(user, `member_added of ${user}, who was away all the time`);
    }
    this.users.add(user);
    this.#note(user, 'added');
  }

  removed(user) {
    if (!this.users.has(user)) return this.#found(user, `member_removed of ${user}, who is not there`);
    const { truth } = this.#listener.findings;
    if (truth.wasSurelyThere(user, this.channel, this.#since(user), performance.now())) {
      this.#found(user, `member_removed of ${user}, who was there all the time`);
    }
    this.users.delete(user);
    this.#note(user, 'removed');
    this.#listener.removed?.(this, user);
  }

  /** What is different from `users`, in words; undefined if nothing is. */
  differenceTo(users) {
    const missing = [...users.keys()].filter((user) => !this.users.has(user));
    const excess = [...this.users].filter((user) => !users.has(user));
    return difference(this.name, missing, excess);
  }

  /** Since when what is told of a user now may have been under way. */
  #since(user) {
    const at = this.#changes.get(user)?.at(-1).at ?? this.#begun;
    return this.#listener.findings.toldOf(this.life, at);
  }

  #note(user, what) {
    const changes = this.#changes.get(user) ?? [];
    this.#changes.set(user, [...changes.slice(1 - KEPT_CHANGES), { what, at: performance.now() }]);
  }

  #found(user, what) {
    const { findings } = this.#listener;
    const told = (this.#changes.get(user) ?? []).map((change) => `${change.what} ${findings.clock(change.at)}`);
    findings.add(this.#listener.name, `${what}, on ${this.channel}`, [
      `list begun ${findings.clock(this.#begun)}, told of ${user} before: ${told.join(', ') || 'nothing'}`,
      ...findings.truth.describe(user, this.channel, findings.clock),
    ]);
  }
}

/** Two sets' difference in words; undefined if there is none. */
export function difference(who, missing, excess) {
  if (missing.length + excess.length === 0) return undefined;
  const told = [];
  if (missing.length > 0) told.push(`lacks ${missing.join(' ')}`);
  if (excess.length > 0) told.push(`has ${excess.join(' ')} too many`);
  return `${who} ${told.join(' and ')}`;
}
