// Numbered events on many channels through several edges at once, and what was answered to each.

import { Inbox } from './inbox.js';
import { isOutcomeUnknown, nothingWasDone, publisher } from './publisher.js';

/** More than a publish may take until it is given up. */
const ANSWER_MS = 90_000;

/** One channel through one edge: a number is published when the one before has its answer. */
class Lane {
  /** The numbers answered with 200, in order. */
  accepted = [];
  /** The numbers whose answer, if any, leaves open whether they were published. */
  unsure = [];
  /** How often a number was not taken and had to be published again. */
  refusals = 0;
  /** How long the slowest answer took. */
  slowestMs = 0;
  #next = 0;

  constructor(pusher, source, channel) {
    this.pusher = pusher;
    this.source = source;
    this.channel = channel;
  }

  async publishNext() {
    const begun = performance.now();
    const number = this.#next++;
    (await this.#isAccepted(number) ? this.accepted : this.unsure).push(number);
    this.slowestMs = Math.max(this.slowestMs, performance.now() - begun);
  }

  async #isAccepted(number) {
    for (;;) {
      try {
        await this.pusher.trigger(this.channel, 'number', { source: this.source, number });
        return true;
      } catch (error) {
        if (isOutcomeUnknown(error)) return false;
        if (!nothingWasDone(error)) throw error;
        this.refusals += 1;
      }
    }
  }
}

export class Load {
  lanes;
  #channels;
  #answers = new Inbox();
  #stopped = false;
  #running;

  /** Publishes to each channel through each edge until `finish`, or the end of the test. */
  static start(t, edges, app, channels) {
    const load = new Load(t, edges, app, channels);
    t.after(() => load.#stop());
    return load;
  }

  constructor(t, edges, app, channels) {
    const pushers = edges.map((edge) => publisher(t, edge, app, { timeout: ANSWER_MS }));
    this.#channels = channels;
    this.lanes = channels.flatMap((channel) => pushers.map((pusher, source) => new Lane(pusher, source, channel)));
    this.#running = Promise.all(this.lanes.map((lane) => this.#run(lane)));
    this.#running.catch(() => {});
  }

  /** Waits until each channel has `count` more accepted events through each edge. */
  async goesOn(count, ms) {
    const goals = this.lanes.map((lane) => lane.accepted.length + count);
    const reached = () => this.lanes.every((lane, index) => lane.accepted.length >= goals[index]);
    const what = `${count} more accepted events on every channel through every edge`;
    await Promise.race([this.#answers.until(reached, what, ms), this.#running]);
  }

  /** Stops, waits for the last answers and publishes `end` on each channel, after everything else. */
  async finish() {
    this.#stop();
    await this.#running;
    const [{ pusher }] = this.lanes;
    await Promise.all(this.#channels.map((channel) => pusher.trigger(channel, 'end', {})));
  }

  /** What happened, in a line. */
  get summary() {
    const sum = (of) => this.lanes.reduce((total, lane) => total + of(lane), 0);
    const slowest = Math.max(...this.lanes.map(({ slowestMs }) => slowestMs));
    return [
      `${sum(({ accepted }) => accepted.length)} accepted`,
      `${sum(({ refusals }) => refusals)} refused and published again`,
      `${sum(({ unsure }) => unsure.length)} of unknown outcome`,
      `the slowest answer after ${Math.round(slowest)} ms`,
    ].join(', ');
  }

  async #run(lane) {
    while (!this.#stopped) {
      await lane.publishNext();
      this.#answers.push({ channel: lane.channel, source: lane.source, accepted: lane.accepted.length });
    }
  }

  #stop() {
    this.#stopped = true;
  }
}
