// How large the rollout is, and its times: those of a production cluster, scaled down as far as a busy machine allows.

import { FEW_SHARDS } from '../settings.js';

export const EDGES = 3;
/** How many clients of each kind listen. */
export const LISTENERS = { 'pusher-js': 60, 'ably-js': 60, EventSource: 30 };
/** Members of one channel, of each protocol. */
export const MEMBERS = 6;
/** Channels; a client listens to one of them. */
export const CHANNELS = 4;
/** Between two messages of a publisher; each channel has one of each protocol. */
export const PACE_MS = 100;

/** `drain.grace` and `drain.duration`. */
export const GRACE_MS = 5_000;
export const DURATION_MS = 4_000;
/** `minReadySeconds` of the chart: how long a new edge is ready before the next old one is stopped. */
export const MIN_READY_MS = 2_000;
/** How often the load balancer asks each edge whether it is ready. */
export const PROBE_MS = 200;
/** `edge.lease_ttl`: how long members of an edge that has ended stay. */
export const LEASE_MS = 15_000;

export const SETTINGS = {
  ...FEW_SHARDS,
  'drain.grace': `${GRACE_MS}ms`,
  'drain.duration': `${DURATION_MS}ms`,
  'edge.lease_ttl': `${LEASE_MS}ms`,
  // All clients are in one process, which may stand still for a moment.
  'edge.close_timeout': '30s',
};
