// How fanfare is told what to do: every flag and setting that the tests rely on stands here and nowhere else.

import { randomBytes } from 'node:crypto';
import { keepSecret } from './secrets.js';

/** Lets `fanfare admin` in. */
export const ADMIN_TOKEN = randomBytes(16).toString('hex');

/** What every node of a cluster has, and seals secrets with. */
const CLUSTER_KEY = randomBytes(32).toString('hex');

keepSecret(ADMIN_TOKEN, 'the admin token');
keepSecret(CLUSTER_KEY, 'the cluster key');

/** More than is usual, since logs are searched for secrets. */
const LOGGED = 'info,fanfare=debug,edge=debug,control=debug,agent=debug,worker=debug,backbone=debug,async_nats=warn';

/** How long a node that was told to stop waits before, and takes for, closing its connections. */
const DRAIN = { grace: '1s', duration: '1s' };

/** Settings of every node, as environment variables. */
export const nodeEnvironment = () => ({
  FANFARE_ADMIN_TOKEN: ADMIN_TOKEN,
  FANFARE_CLUSTER_KEY: CLUSTER_KEY,
  FANFARE_LOG_FILTER: LOGGED,
  FANFARE_DRAIN_GRACE: DRAIN.grace,
  FANFARE_DRAIN_DURATION: DRAIN.duration,
});

const listenFlags = ({ client, control, admin }) => [
  '--listen',
  `127.0.0.1:${client}`,
  '--control-listen',
  `127.0.0.1:${control}`,
  '--admin-listen',
  `127.0.0.1:${admin}`,
];

/** The arguments of a node that is everything in one process and needs nothing. */
export const devArguments = ({ ports, seed }) => ['dev', ...listenFlags(ports), '--seed', seed];

/** What each node of a cluster does. */
export const EDGE_ROLES = ['edge', 'worker'];

/** In how many shards `FEW_SHARDS` spreads channels. */
export const SHARDS = 4;
/** How many messages of a channel it keeps: more than are published while an edge looks for another NATS node. */
export const KEPT_MESSAGES = 10_000;
/**
 * Settings of a cluster in which a few channels are in every shard, a hole is filled whatever the load, and a publish
 * outlasts the elections of a busy machine.
 */
export const FEW_SHARDS = {
  'backbone.shards': SHARDS,
  'backbone.recoverable_messages': KEPT_MESSAGES,
  'backbone.publish_deadline': '60s',
};
/** How the names of the shards' streams begin. */
export const SHARD_STREAMS = 'fanfare-recoverable-';

/** The arguments of a node of a cluster; without a seed file, it finds the apps that another node has created. */
export const runArguments = ({ ports, roles, nats, seed, settings = {} }) => [
  'run',
  ...roles.flatMap((role) => ['--role', role]),
  ...listenFlags(ports),
  '--nats',
  nats,
  ...(seed ? ['--seed', seed] : []),
  ...Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]),
];

/** How `fanfare admin` finds a control plane and is let in, as environment variables. */
export const adminEnvironment = (controlPort, token = ADMIN_TOKEN) => ({
  FANFARE_CONTROL_ADDRESS: `http://127.0.0.1:${controlPort}`,
  FANFARE_ADMIN_TOKEN: token,
});

/** The words of `fanfare admin` that make it answer in JSON. */
export const JSON_OUTPUT = ['--output', 'json'];
