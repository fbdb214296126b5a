// What the scenarios run against: a site is a running fanfare, and a route is a way through it.

import { apps } from './apps.js';
import { NatsCluster } from './nats_cluster.js';
import { Node } from './node.js';
import { seedFile } from './seed.js';
import { EDGE_ROLES, devArguments, runArguments } from './settings.js';
import { isKnownAt } from './signed_request.js';
import { eventually } from './wait.js';
import { Workspace } from './workspace.js';

/** `edges` are its nodes that clients can use, the first one with the control plane. */
class Site {
  edges = [];
  /** The receivers of webhooks, by the names that the apps give them. */
  receivers;
  #build;
  #nats;
  #workspace;

  /** `build` starts what the site consists of, with the functions that `start` hands to it. */
  constructor(name, routes, build, receivers = {}) {
    this.name = name;
    this.routes = routes.map((route) => new Route(this, route));
    this.receivers = receivers;
    this.#build = build;
  }

  async start() {
    this.#workspace = new Workspace();
    await Promise.all(Object.values(this.receivers).map((receiver) => receiver.start()));
    const urls = Object.entries(this.receivers).map(([name, { url }]) => [name, url]);
    const seed = this.#workspace.file('seed.toml', seedFile(Object.values(apps), Object.fromEntries(urls)));
    await this.#build({
      seed,
      startNats: () => this.#startNats(),
      startEdge: (name, makeArguments) => this.#startEdge(name, makeArguments),
    });
    await Promise.all(this.edges.map(isSeeded));
  }

  /** The NATS cluster behind it, if it has one. */
  get nats() {
    return this.#nats;
  }

  async stop() {
    await Promise.all(this.edges.map((edge) => edge.kill()));
    await this.#nats?.stop();
    await Promise.all(Object.values(this.receivers).map((receiver) => receiver.stop()));
    this.#workspace?.remove();
  }

  async #startNats() {
    this.#nats = new NatsCluster(this.#workspace);
    await this.#nats.start();
    return this.#nats.urls;
  }

  async #startEdge(name, makeArguments) {
    const node = await Node.create(name, makeArguments);
    this.edges.push(node);
    await node.start();
  }
}

/** Waits until a node knows the seeded apps; it may be ready for clients a moment earlier. */
async function isSeeded(edge) {
  for (const app of Object.values(apps).filter(({ enabled }) => enabled)) {
    await eventually(() => isKnownAt(edge, app), `${edge.name} to know the app ${app.name}`);
  }
}

/** From where events are published to where they are received. */
class Route {
  #publish;
  #subscribe;

  constructor(site, { name, publish, subscribe }) {
    this.site = site;
    this.name = name;
    this.#publish = publish;
    this.#subscribe = subscribe;
  }

  get publishEdge() {
    return this.site.edges[this.#publish];
  }

  get subscribeEdge() {
    return this.site.edges[this.#subscribe];
  }

  /** The node with the control plane. */
  get controlNode() {
    return this.site.edges[0];
  }

  /** The receivers of webhooks, by name. */
  get receivers() {
    return this.site.receivers;
  }
}

/** All roles in one process, nothing else. */
export const devSite = ({ receivers } = {}) =>
  new Site(
    'one fanfare dev',
    [{ name: 'through the one node', publish: 0, subscribe: 0 }],
    ({ seed, startEdge }) => startEdge('dev', (ports) => devArguments({ ports, seed })),
    receivers,
  );

/** Two edges that also deliver webhooks, one of them with the control plane, over a NATS cluster. */
export const clusterSite = ({ settings, receivers } = {}) =>
  new Site(
    'two edges over three NATS nodes',
    [
      { name: 'published at A, received at B', publish: 0, subscribe: 1 },
      { name: 'published at B, received at A', publish: 1, subscribe: 0 },
    ],
    async ({ seed, startNats, startEdge }) => {
      const nats = await startNats();
      const common = { nats, settings };
      await startEdge('edge A', (ports) => runArguments({ ports, roles: ['control', ...EDGE_ROLES], seed, ...common }));
      await startEdge('edge B', (ports) => runArguments({ ports, roles: EDGE_ROLES, ...common }));
    },
    receivers,
  );
