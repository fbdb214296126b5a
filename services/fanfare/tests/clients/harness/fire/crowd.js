// All users with their places, who act while there is churn and are left in peace at a quiet point.

import { EventEmitter, setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../wait.js';
import { Random } from './random.js';
import { Seat } from './seat.js';
import { SEATS, SEED, STEADY, USERS, roomsOf } from './settings.js';

/** Actions that are under way, those at a paused edge included, end in this time. */
const SETTLE_MS = 240_000;
/** How many connect at one time in the beginning. */
const ARRIVING = 20;

function seatsOf(fire, index) {
  const random = new Random(SEED, `user ${index}`);
  const isSteady = index < USERS * STEADY;
  const rooms = roomsOf(random, isSteady);
  const user = `${isSteady ? 'steady' : 'user'}-${index}`;
  const count = 1 + Math.floor(random.between(0, SEATS));
  return Array.from(
    { length: count },
    (_, seat) => new Seat(fire, user, rooms, new Random(SEED, `user ${index} seat ${seat}`), isSteady),
  );
}

export class Crowd extends EventEmitter {
  seats;
  isChurning = false;
  isOver = false;
  /** Counts times of churn. */
  round = 0;
  #actions = 0;
  #busy = new Set();
  #settling = interruption();
  #over = interruption();

  constructor(fire) {
    super();
    this.setMaxListeners(Infinity);
    this.seats = Array.from({ length: USERS }, (_, index) => seatsOf(fire, index)).flat();
  }

  /** Everybody arrives, a few at a time. */
  async arrive() {
    const waiting = [...this.seats];
    const comeOneByOne = async () => {
      for (let seat = waiting.pop(); seat; seat = waiting.pop()) await seat.arrive();
    };
    await Promise.all(Array.from({ length: ARRIVING }, comeOneByOne));
    Promise.all(this.seats.map((seat) => seat.live())).catch((error) => this.emit('failed', error));
  }

  /** Lets everybody act. */
  churn() {
    this.round += 1;
    this.isChurning = true;
    this.#settling = interruption();
    this.emit('churn');
  }

  /** Waits until there were `count` more actions. */
  async act(count, ms) {
    const goal = this.#actions + count;
    await this.#until('acted', () => this.#actions >= goal, `${count} more actions`, ms);
  }

  /** Stops the churn and waits until everybody is where they want to be. */
  async settle() {
    this.isChurning = false;
    this.#settling.abort();
    await this.settled();
  }

  /** Has everybody leave a room. */
  async empty(room) {
    await Promise.all(this.seats.map((seat) => seat.leave(room)));
  }

  /** Waits until nobody is on the way. */
  settled() {
    return this.#until('idle', () => this.#busy.size === 0, 'everybody to settle', SETTLE_MS);
  }

  /** Everything ends. */
  end() {
    this.isOver = true;
    this.isChurning = false;
    this.#settling.abort();
    this.#over.abort();
    this.emit('churn');
  }

  /** For seats: waits for so long a time of churn without a pause; false if all is over. */
  async churnFor(ms) {
    for (;;) {
      if (this.isOver) return false;
      if (!this.isChurning) {
        await new Promise((resolve) => this.once('churn', resolve));
        continue;
      }
      if (await this.rest(ms)) return true;
    }
  }

  /** For seats: waits so long, but not beyond the end of the churn; whether it was that long. */
  rest(ms) {
    return uninterrupted(ms, this.#settling.signal);
  }

  /** For seats: waits so long, at a quiet point, too. */
  pause(ms) {
    return uninterrupted(ms, this.#over.signal);
  }

  /** For seats: one has done something. */
  acted() {
    this.#actions += 1;
    this.emit('acted');
  }

  begins(seat) {
    this.#busy.add(seat);
  }

  ends(seat) {
    this.#busy.delete(seat);
    this.emit('idle');
  }

  async #until(event, isSo, what, ms) {
    let look;
    let fail;
    const reached = new Promise((resolve, reject) => {
      look = () => isSo() && resolve();
      fail = reject;
    });
    this.on(event, look);
    this.on('failed', fail);
    look();
    try {
      await within(reached, what, ms);
    } finally {
      this.off(event, look);
      this.off('failed', fail);
    }
  }
}

/** One that many wait for. */
function interruption() {
  const controller = new AbortController();
  setMaxListeners(Infinity, controller.signal);
  return controller;
}

/** Whether a wait was not cut short. */
const uninterrupted = (ms, signal) =>
  sleep(ms, true, { signal }).catch((error) => {
    if (error.name !== 'AbortError') throw error;
    return false;
  });
