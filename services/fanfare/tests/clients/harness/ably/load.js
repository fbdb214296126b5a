// Clients that publish, listen and are present, each by a front door of its own, and what was answered to each publish.

import { FrontDoor } from '../front_door.js';
import { Inbox } from '../inbox.js';
import { AblyClient } from './client.js';
import { FORMATS } from './ways.js';

/** Between two messages of a client: fast enough that some are always under way. */
const PACE_MS = 20;

/** One client. It publishes to one channel and listens to all. */
class Seat {
  /** The serials of its messages, in the order in which they were acknowledged. */
  acknowledged = [];
  /** What was not acknowledged. */
  refused = [];
  #answers = new Inbox();
  #next = 0;
  #pending = new Set();
  #timer;

  constructor(name, client, channels) {
    this.name = name;
    this.client = client;
    this.channels = channels;
  }

  get channel() {
    return this.channels[0];
  }

  start() {
    this.#timer = setInterval(() => this.#publish(), PACE_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** Waits for `count` more acknowledgements. */
  goesOn(count, ms) {
    const goal = this.acknowledged.length + count;
    return this.#answers.until(
      () => this.acknowledged.length >= goal,
      `${count} more acknowledged messages of ${this.name}`,
      ms,
    );
  }

  /** Waits for the answers to all that it published; how many that was. */
  async finished() {
    await Promise.all(this.#pending);
    return this.#next;
  }

  #publish() {
    const number = this.#next++;
    const publish = this.channel.channel.publish(this.name, { number });
    const answered = publish.then(
      ({ serials }) => this.acknowledged.push({ number, serial: serials[0] }),
      (error) => this.refused.push({ number, code: error.code, message: error.message }),
    );
    this.#pending.add(answered);
    answered.finally(() => {
      this.#pending.delete(answered);
      this.#answers.push(number);
    });
  }
}

/** `count` clients in both formats in turn, over all channels, each connected by a door that leads to `edges`. */
export async function seats(t, edges, app, channels, count) {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const door = await FrontDoor.open(t, edges[index % edges.length]);
      const format = Object.values(FORMATS)[Math.floor(index / edges.length) % 2];
      const name = `seat-${index}`;
      const client = await AblyClient.connect(t, door, app, { ...format, clientId: name });
      const first = index % channels.length;
      const order = [...channels.slice(first), ...channels.slice(0, first)];
      const joined = await Promise.all(order.map((channel) => client.subscribe(channel)));
      const seat = new Seat(name, client, joined);
      t.after(() => seat.stop());
      return seat;
    }),
  );
}
