// How large the fire is, how long it burns, and what the documented times of the server are.

import { randomInt } from 'node:crypto';
import { apps } from '../apps.js';
import { FEW_SHARDS } from '../settings.js';

const { FANFARE_FIRE_SEED, FANFARE_FIRE_SECONDS, FANFARE_FIRE_WEBHOOKS, FANFARE_FIRE_FAULTS } = process.env;

/** Decides every choice; the same seed makes the same choices again. */
export const SEED = FANFARE_FIRE_SEED ?? String(randomInt(1_000_000));
/** Rounds, each with every fault once, begin until this time is over; there is one at least. */
export const ROUNDS_MS = Number(FANFARE_FIRE_SECONDS ?? 0) * 1_000;
/** Whether webhooks are part of the agreement. */
export const WEBHOOKS = FANFARE_FIRE_WEBHOOKS !== 'off';
/** Only these faults, by the names in `faults.js`, in this order. */
export const CHOSEN_FAULTS = FANFARE_FIRE_FAULTS?.split(',');

export const EDGES = 3;
export const USERS = 200;
/** Connections of a user at most. */
export const SEATS = 3;
/** The part of the users who never leave by themselves, so that nobody may ever see them go. */
export const STEADY = 0.25;
/** How long a connection does nothing, on average, while others act. */
export const THINK_MS = 10_000;

const LOBBY = 'presence-lobby';
const GAMES = ['presence-game-1', 'presence-game.2', 'presence-game=3'];
/** Rooms for a few. */
const NOOKS = ['presence-nook-1', 'presence-nook-2'];
/** The one that everybody has left at every other quiet point. */
export const EMPTIED = NOOKS[1];
export const CHANNELS = [LOBBY, ...GAMES, ...NOOKS];
const LOBBY_GOERS = 0.4;
const NOOK_GOERS = 0.04;

/** The rooms of a user; those who are steady stay out of rooms that are to become empty. */
export function roomsOf(random, isSteady) {
  const rooms = [random.pick(GAMES)];
  if (random.happens(LOBBY_GOERS)) rooms.push(LOBBY);
  rooms.push(...NOOKS.filter(() => random.happens(NOOK_GOERS) && !isSteady));
  return rooms;
}

/** Where the webhooks go at their receiver. */
export const WEBHOOK_PATH = '/fire';

export const app = {
  ...apps.main,
  tables: { pusher: {}, limits: { presence_members: USERS * 2 }, quota: {} },
  namespaces: [],
  webhooks: [
    {
      to: ['fire', WEBHOOK_PATH],
      events: ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed'],
      batch: '50ms',
    },
  ],
};

/** `edge.presence_grace`: how long a member stays after its connection was lost. */
export const GRACE_MS = 3_000;
/** `edge.presence_handover`: how long it stays after its connection was closed by a node that is being stopped. */
export const HANDOVER_MS = 15_000;
/** `edge.lease_ttl`: how long it stays after its node has died. A slow election of NATS outlasts the default. */
export const LEASE_MS = 30_000;
/** How late a timer may be on a busy machine. */
export const LAG_MS = 5_000;
/** What is left of the lease at the worst moment: it is renewed five times in its time. */
export const LEASE_LEFT_MS = LEASE_MS - LEASE_MS / 5 - LAG_MS;
/** How long it may take until everybody knows, also on a busy machine; after a death, on top of the lease. */
export const LATE_MS = 20_000;
/** `worker.webhook_grace`, and `worker.lease_ttl` for the case that the worker has died, too. */
export const WEBHOOK_GRACE_MS = 3_000;
export const WORKER_LEASE_MS = 12_000;
/** How long an edge is paused at least: nobody counts on it any more by then. */
export const PAUSE_MS = LEASE_MS;

/** Settings of every edge. */
export const SETTINGS = { ...FEW_SHARDS, 'edge.lease_ttl': `${LEASE_MS}ms` };
