// One of a user's places: a phone or a tab, which connects, joins and leaves rooms, moves to another edge, drops and
// comes back, as its own chance has it.

import { Connection } from './connection.js';
import { THINK_MS } from './settings.js';

/** How often one does what, by the names of the methods. */
const ACTIONS = { toggle: 30, hurry: 10, depart: 14, vanish: 8, resume: 14, move: 12, goHome: 12 };
/** How many of those who lose their connection come back before the next round. */
const RETURNING = 0.7;
const RETRY_MS = 300;

export class Seat {
  connection;
  #fire;
  #random;
  #isSteady;
  /** What it would like to be doing: connected, or at home until then. */
  #wantsToBeHere = true;
  #isBusy = false;
  /** The round for whose rest it stays away. */
  #absentIn;

  constructor(fire, user, rooms, random, isSteady) {
    Object.assign(this, { user, rooms });
    this.#fire = fire;
    this.#random = random;
    this.#isSteady = isSteady;
  }

  /** Acts whenever there is churn, until the end. */
  async live() {
    const { crowd } = this.#fire;
    for (;;) {
      if (!(await crowd.churnFor(this.#random.around(THINK_MS)))) return;
      if (this.#isSteady || this.#isBusy || this.#absentIn === crowd.round) continue;
      await this.#work(() => this.#act());
      crowd.acted();
    }
  }

  /** Connects to some edge and joins its rooms. */
  arrive() {
    return this.#work(() => (this.#wantsToBeHere = true));
  }

  /** Leaves a room, if it is there. */
  leave(room) {
    return this.#work(async () => {
      if (this.connection?.channels.includes(room)) await this.connection.leave(room);
    });
  }

  /** What it has been told. */
  get lists() {
    return this.connection?.lists ?? [];
  }

  #act() {
    if (!this.connection) {
      this.#wantsToBeHere = true;
      return this.#count('arrivals');
    }
    return this[this.#random.weighted(ACTIONS)]();
  }

  /** Leaves a room it is in, or joins one it is not in. */
  async toggle() {
    const room = this.#random.pick(this.rooms);
    if (!this.connection.channels.includes(room)) {
      this.#count('joins');
      await this.connection.join(room);
      return;
    }
    this.#count('leaves');
    await this.connection.leave(room);
  }

  /** Leaves and joins, or joins and leaves, as fast as it can. */
  async hurry() {
    const room = this.#random.pick(this.rooms);
    const { connection } = this;
    this.#count('joins');
    this.#count('leaves');
    if (connection.channels.includes(room)) {
      if (await connection.leave(room)) await connection.join(room);
      return;
    }
    connection.join(room);
    await connection.leave(room);
  }

  /** Closes, and comes back. */
  async depart() {
    this.#count('closes');
    this.#take().close();
    await this.#fire.crowd.rest(this.#random.between(0, 6_000));
  }

  /** Drops, and comes back after the grace. */
  async vanish() {
    this.#count('drops');
    this.#take().drop(this.#random.happens(0.5));
    await this.#fire.crowd.rest(this.#random.between(3_500, 8_000));
  }

  /** Drops, and comes back within the grace, elsewhere. */
  async resume() {
    this.#count('drops');
    this.#count('resumptions');
    const { life } = this.connection;
    this.#take().drop(this.#random.happens(0.5));
    await this.#fire.crowd.rest(this.#random.between(0, 2_000));
    await this.#connect(life);
  }

  /** Is somewhere else before it leaves here. */
  async move() {
    this.#count('moves');
    const former = this.connection;
    if (await this.#connect(former.life)) former.close();
  }

  /** Is gone until it thinks of something else. */
  async goHome() {
    this.#wantsToBeHere = false;
    const isAbrupt = this.#random.happens(0.5);
    this.#count(isAbrupt ? 'drops' : 'closes');
    const connection = this.#take();
    if (isAbrupt) connection.drop(this.#random.happens(0.5));
    else connection.close();
  }

  /** Does something, then sees to it that it is where it wants to be. */
  async #work(act) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#fire.crowd.begins(this);
    try {
      await act();
      while (this.#wantsToBeHere && !this.connection) {
        if (this.#fire.crowd.isOver) return;
        if (!(await this.#connect())) await this.#fire.crowd.pause(RETRY_MS);
      }
    } finally {
      this.#isBusy = false;
      this.#fire.crowd.ends(this);
    }
  }

  /** Becomes a connection to an edge, rather not to `former`, that is in all rooms; whether that succeeded. */
  async #connect(former) {
    const open = this.#fire.site.open.filter((life) => life !== former);
    const life = this.#random.pick(open.length > 0 ? open : this.#fire.site.open);
    if (!life) return false;
    const connection = new Connection(this.#fire, life, this.user, (how, code) => this.#lost(connection, how, code));
    if (!(await connection.open())) return false;
    const joined = await Promise.all(this.rooms.map((room) => connection.join(room)));
    if (!joined.every(Boolean)) {
      connection.close();
      return false;
    }
    this.#count('joins', joined.length);
    this.connection = connection;
    return true;
  }

  /** Is no longer this connection, which it returns. */
  #take() {
    const { connection } = this;
    this.connection = undefined;
    return connection;
  }

  async #lost(connection, how, code) {
    this.#fire.report.lost(how, code);
    if (connection !== this.connection) return;
    this.connection = undefined;
    if (this.#isBusy) return;
    const returns = this.#isSteady || !this.#fire.crowd.isChurning || this.#random.happens(RETURNING);
    this.#wantsToBeHere = returns;
    const away = this.#random.between(0, this.#isSteady ? 1_000 : 2_000);
    if (returns) await this.#work(() => this.#fire.crowd.rest(away));
    else this.#absentIn = this.#fire.crowd.round;
  }

  #count(what, times) {
    this.#fire.report.count(what, times);
  }
}
