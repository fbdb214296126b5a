// Numbered messages at a steady pace on every channel, by the HTTP APIs of both protocols.

import { setTimeout as sleep } from 'node:timers/promises';
import { serverOf } from '../ably/credentials.js';
import { isOutcomeUnknown, nothingWasDone, publisher } from '../publisher.js';
import { PACE_MS } from './settings.js';
import { APP } from './site.js';

/** The last message of each channel. */
export const LAST = 'last';
/** More than a publish may take until it is given up. */
const ANSWER_MS = 90_000;

/** One channel by one protocol: a number is published when the one before has its answer, and never too soon. */
class Lane {
  /** The numbers that were acknowledged, in order. */
  accepted = [];
  /** The numbers whose answer leaves open whether they were published. */
  unsure = [];
  /** `{ protocol, number, text, at }` of each attempt that failed. */
  errors = [];
  /** When each number was first sent, and how long its answer took. */
  begun = [];
  took = [];

  /** `publish(text, number)` sends one; `isRepeatable(error)` whether it may be sent again without being doubled. */
  constructor(name, channel, publish, isRepeatable) {
    Object.assign(this, { name, channel, publish, isRepeatable });
  }

  async publishNext() {
    const number = this.begun.length;
    const begun = performance.now();
    this.begun.push(begun);
    ((await this.#isAccepted(number)) ? this.accepted : this.unsure).push(number);
    this.took.push(performance.now() - begun);
    await sleep(Math.max(0, begun + PACE_MS - performance.now()));
  }

  async #isAccepted(number) {
    for (;;) {
      try {
        await this.publish(`${this.name}:${number}`, number);
        return true;
      } catch (error) {
        this.errors.push({ lane: this.name, number, text: describe(error), at: performance.now() });
        if (!this.isRepeatable(error)) return false;
        await sleep(PACE_MS);
      }
    }
  }
}

/** In words, without the URL that says something else each time. */
export function describe({ status, code, body, error, message }) {
  const words = [status, code, body, error?.message, message].filter(Boolean).join(' ');
  return words.replace(/http:\S+/g, 'URL');
}

export class Load {
  lanes = [];
  #last = [];
  #running;
  #stopped = false;

  /** Publishes to each of `channels` by each protocol until `finish`, or the end of the test, over connections kept or not. */
  static async start(t, balancer, channels, { keepAlive }) {
    const load = new Load();
    t.after(() => (load.#stopped = true));
    // A lane's only connection is never idle for long, so that an edge which is to end can say so in an answer. One that
    // is closed while a request is on its way fails that, whoever is to blame.
    const connections = { keepAlive, maxSockets: 1 };
    for (const [index, channel] of channels.entries()) {
      const pusher = publisher(t, await balancer.door(t), APP, { timeout: ANSWER_MS, ...connections });
      const ably = serverOf(await balancer.door(t), APP, { restAgentOptions: connections });
      load.#last.push(() => pusher.trigger(channel, 'number', LAST));
      const isRepeatable = (error) => {
        if (!nothingWasDone(error) && !isOutcomeUnknown(error)) throw error;
        return nothingWasDone(error);
      };
      load.lanes.push(
        new Lane(`pusher${index}`, channel, (text) => pusher.trigger(channel, 'number', text), isRepeatable),
        // The id makes it idempotent: it may be sent again, whatever became of it.
        new Lane(
          `ably${index}`,
          channel,
          (data, number) => ably.channels.get(channel).publish({ name: 'number', data, id: `${channel}-${number}:0` }),
          () => true,
        ),
      );
    }
    load.#running = Promise.all(load.lanes.map((lane) => load.#run(lane)));
    load.#running.catch(() => {});
    return load;
  }

  /** Stops, waits for the last answers and publishes the last message on each channel. */
  async finish() {
    this.#stopped = true;
    await this.#running;
    await Promise.all(this.#last.map((publish) => publish()));
  }

  get errors() {
    return this.lanes.flatMap(({ errors }) => errors);
  }

  /** When a message was published. */
  begunAt(text) {
    const [name, number] = text.split(':');
    return this.lanes.find((lane) => lane.name === name).begun[number];
  }

  async #run(lane) {
    while (!this.#stopped) await lane.publishNext();
  }
}
