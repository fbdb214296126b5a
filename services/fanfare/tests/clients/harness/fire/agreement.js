// Whether everybody agrees with the truth at a quiet point: all who keep a list, and the HTTP API at every edge.

import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { signedGet } from '../signed_request.js';
import { difference } from './member_list.js';
import { CHANNELS, app } from './settings.js';

/** Agreement announces itself by no event. Asking costs the server little, comparing hundreds of lists us more. */
const POLL_MS = 200;
const SHOWN = 12;

/** Waits until nobody differs; answers how long it took. */
export async function agreement(fire, ms) {
  const begun = performance.now();
  for (;;) {
    const differences = await differencesNow(fire);
    if (differences.length === 0) return performance.now() - begun;
    if (performance.now() - begun > ms) {
      const shown = differences.slice(0, SHOWN).map((line) => `\n    ${line}`);
      throw new Error(`after ${ms} ms of quiet ${differences.length} differ from the truth:${shown.join('')}`);
    }
    await sleep(POLL_MS);
  }
}

/** The API is asked only when all lists agree. */
async function differencesNow(fire) {
  const lists = [...listDifferences(fire), ...(await watcherDifferences(fire))];
  if (lists.length > 0) return lists;
  const asked = fire.site.open.map((life) => apiDifferences(fire.truth, life));
  return (await Promise.all(asked)).flat();
}

function listDifferences({ truth, lists }) {
  return lists.map((list) => list.differenceTo(truth.present(list.channel))).filter(Boolean);
}

async function watcherDifferences({ watchers }) {
  return (await Promise.all(watchers.map((watcher) => watcher.differences()))).flat();
}

async function apiDifferences(truth, life) {
  const asked = [channelsDifference(truth, life), ...CHANNELS.map((channel) => usersDifference(truth, life, channel))];
  return (await Promise.all(asked)).filter(Boolean);
}

async function usersDifference(truth, life, channel) {
  const response = await signedGet(life.node, app, `/channels/${channel}/users`);
  if (response.status !== 200) return `${life.name} answers ${response.status} for users of ${channel}`;
  const users = response.json().users.map(({ id }) => id);
  const present = truth.present(channel);
  if (new Set(users).size !== users.length) return `${life.name} has somebody twice among the users of ${channel}`;
  const missing = [...present.keys()].filter((user) => !users.includes(user));
  const excess = users.filter((user) => !present.has(user));
  return difference(`/channels/${channel}/users at ${life.name}`, missing, excess);
}

async function channelsDifference(truth, life) {
  const query = { filter_by_prefix: 'presence-', info: 'subscription_count,user_count' };
  const response = await signedGet(life.node, app, '/channels', { query });
  if (response.status !== 200) return `${life.name} answers ${response.status} for /channels`;
  const occupied = CHANNELS.filter((channel) => truth.subscriptions(channel) > 0);
  const counts = (channel) => ({
    user_count: truth.present(channel).size,
    subscription_count: truth.subscriptions(channel),
  });
  const expected = Object.fromEntries(occupied.map((channel) => [channel, counts(channel)]));
  const { channels } = response.json();
  if (isDeepStrictEqual(channels, expected)) return undefined;
  return `/channels at ${life.name} says ${JSON.stringify(channels)} instead of ${JSON.stringify(expected)}`;
}
