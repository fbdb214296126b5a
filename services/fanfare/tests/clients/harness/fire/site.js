// Three edges over three NATS nodes. An edge has lives: one that was killed or stopped has its successor at the same
// address, and what ended a life decides what becomes of those who were connected to it.

import { NatsCluster } from '../nats_cluster.js';
import { Node } from '../node.js';
import { seedFile } from '../seed.js';
import { runningServers } from '../server_process.js';
import { EDGE_ROLES, runArguments } from '../settings.js';
import { isKnownAt } from '../signed_request.js';
import { eventually } from '../wait.js';
import { WebhookReceiver } from '../webhook_receiver.js';
import { Workspace } from '../workspace.js';
import { EDGES, SETTINGS, WEBHOOKS, app } from './settings.js';

/** One process. */
class Life {
  /** `{ how, at }` when it has ended, or begun to: `killed` or `drained`. */
  end;
  /** When it was paused, until everybody has heard of its return. */
  pausedAt;

  constructor(node, number) {
    this.node = node;
    this.name = `${node.name}#${number}`;
    this.number = number;
  }

  /** Whether a load balancer would send clients there. */
  get isOpen() {
    return this.end === undefined && !this.isPaused;
  }

  isPaused = false;

  signal(signal) {
    runningServers()
      .find(({ name }) => name === this.node.name)
      .signal(signal);
  }
}

export class FireSite {
  name = `${EDGES} edges over three NATS nodes`;
  receiver = new WebhookReceiver();
  nats;
  #lives = [];
  #workspace;

  async start() {
    this.#workspace = new Workspace();
    await this.receiver.start();
    const seed = this.#workspace.file('seed.toml', seedFile([app], WEBHOOKS ? { fire: this.receiver.url } : {}));
    this.nats = new NatsCluster(this.#workspace);
    await this.nats.start();
    const common = { nats: this.nats.urls, settings: SETTINGS };
    for (let index = 0; index < EDGES; index += 1) {
      const name = `edge ${'ABC'[index]}`;
      const first = index === 0 ? { roles: ['control', ...EDGE_ROLES], seed } : { roles: EDGE_ROLES };
      const node = await Node.create(name, (ports) => runArguments({ ports, ...first, ...common }));
      this.#lives.push(new Life(node, 1));
      await node.start();
    }
    await Promise.all(this.#lives.map(isSeeded));
  }

  /** Lives that clients may connect to. */
  get open() {
    return this.#lives.filter(({ isOpen }) => isOpen);
  }

  /** Kills an edge, as if the power had failed. */
  async kill(life) {
    life.end = { how: 'killed', at: performance.now() };
    await life.node.kill();
  }

  /** Has an edge send its clients away, and waits for its end: `{ code, signal }`. */
  drain(life) {
    life.end = { how: 'drained', at: performance.now() };
    return life.node.drained();
  }

  pause(life) {
    life.pausedAt = performance.now();
    life.isPaused = true;
    life.signal('SIGSTOP');
  }

  resume(life) {
    life.isPaused = false;
    life.signal('SIGCONT');
  }

  /** Starts the successor of a life that has ended. */
  async succeed(life) {
    const next = new Life(life.node, life.number + 1);
    await next.node.start();
    await isSeeded(next);
    this.#lives.splice(this.#lives.indexOf(life), 1, next);
    return next;
  }

  async stop() {
    await Promise.all(this.#lives.map(({ node }) => node.kill()));
    await this.nats?.stop();
    await this.receiver.stop();
    this.#workspace?.remove();
  }
}

const isSeeded = ({ node }) => eventually(() => isKnownAt(node, app), `${node.name} to know the app`);
