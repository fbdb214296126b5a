// The whole: a crowd at a site, one fault after another, and at every quiet point everybody's agreement with the truth.

import { agreement } from './agreement.js';
import { Crowd } from './crowd.js';
import { AGREED_MS, Faults } from './faults.js';
import { Findings } from './member_list.js';
import { Report } from './report.js';
import {
  CHANNELS,
  CHOSEN_FAULTS,
  EMPTIED,
  LATE_MS,
  LEASE_MS,
  ROUNDS_MS,
  WEBHOOKS,
  WEBHOOK_GRACE_MS,
  WORKER_LEASE_MS,
} from './settings.js';
import { Truth } from './truth.js';
import { Watcher } from './watcher.js';
import { WebhookLists } from './webhook_lists.js';

/** How long a change may be under way to somebody who is connected to an edge that is well. */
const UNDER_WAY_MS = 15_000;
/** And to who learns it by webhook: the edge may be dead and the worker with it. */
const WEBHOOK_UNDER_WAY_MS = LEASE_MS + WEBHOOK_GRACE_MS + WORKER_LEASE_MS + LATE_MS;
/** All but the room that becomes empty. */
const WATCHED = CHANNELS.filter((channel) => channel !== EMPTIED);

export class Fire {
  sockets = new Set();
  report = new Report();
  truth = new Truth();
  findings = new Findings(this.truth, UNDER_WAY_MS);
  webhookFindings = new Findings(this.truth, WEBHOOK_UNDER_WAY_MS);
  watchers = [];
  /** Of the fault under way. */
  victims;
  /** A worker has died or stood still in this phase: what it was about to note is told again. */
  workersMayRepeat = false;
  #faults = new Faults(this);
  #webhooks;

  constructor(site) {
    this.site = site;
    this.crowd = new Crowd(this);
    this.#webhooks = WEBHOOKS ? new WebhookLists(this) : undefined;
  }

  /** The member lists of everybody who is subscribed. */
  get lists() {
    return [...this.crowd.seats, ...this.watchers].flatMap(({ lists }) => lists);
  }

  /** Told by every list of a departure. */
  removed = (list, user) => this.victims?.removed(list, user);

  /** Burns until all rounds are over. */
  async burn(t) {
    try {
      for (const [index, life] of this.site.open.entries()) {
        this.watchers.push(await Watcher.start(t, this, `watcher-${index}`, life, WATCHED));
      }
      await this.crowd.arrive();
      await this.#quiet('none');
      const begun = performance.now();
      do {
        for (const fault of CHOSEN_FAULTS ?? this.#faults.round()) await this.#phase(fault);
      } while (performance.now() - begun < ROUNDS_MS);
    } finally {
      this.crowd.end();
      this.sockets.forEach((socket) => socket.terminate());
      this.report.lines.forEach((line) => t.diagnostic(line));
    }
  }

  /** Churn, a fault amid it, churn, and quiet. */
  async #phase(fault) {
    this.workersMayRepeat = ['killEdge', 'pauseEdge', 'drainEdge', 'killNatsLeader'].includes(fault);
    this.crowd.churn();
    await this.#faults.none();
    const left = (await this.#faults[fault]()) ?? {};
    await this.crowd.settle();
    if (this.crowd.round % 2 === 0) await this.crowd.empty(EMPTIED);
    await Promise.all(this.watchers.map((watcher) => watcher.settled()));
    await this.#quiet(fault);
    left.victims?.goneAfter.forEach((ms) => this.report.time(fault, 'members gone', ms));
    if (left.victims?.goneAfter.length === 0) throw new Error(`${fault}: nobody was there who could be seen to go`);
    this.victims = undefined;
    left.isOver?.();
    if (left.paused) {
      left.paused.pausedAt = undefined;
      this.truth.trust(left.paused);
    }
  }

  /** Everybody comes to agree, and nothing was told that must not be. */
  async #quiet(fault) {
    try {
      this.report.time(fault, 'agreed', await agreement(this, AGREED_MS[fault]));
      if (this.#webhooks) {
        const ms = AGREED_MS[fault] + WEBHOOK_GRACE_MS + WORKER_LEASE_MS;
        this.report.time(fault, 'webhooks agreed', await this.#webhooks.agreement(ms));
      }
    } catch (error) {
      error.message = `${fault}: ${error.message}\n  ${this.#told()}`;
      throw error;
    }
    if (this.#told()) throw new Error(`${fault}: ${this.#told()}`);
  }

  #told() {
    return [this.findings.text, this.webhookFindings.text].filter(Boolean).join('\n  ');
  }
}
