// Which shard a channel is in, computed as `services/channels` does: it is part of the stored format and never changes.

import { unique } from './names.js';

const OFFSET = 0xcbf29ce484222325n;
const PRIME = 0x100000001b3n;

/** FNV-1a over the app and the name, its halves folded onto each other. */
export function shardOf(app, channel, shards) {
  const step = (hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * PRIME);
  const hash = Buffer.from(`${app.id}\0${channel}`).reduce(step, OFFSET);
  return Number(((hash >> 32n) ^ (hash & 0xffffffffn)) % BigInt(shards));
}

/** New channel names, `count` in each shard. */
export function channelsOfEveryShard(app, shards, count) {
  const names = Array.from({ length: shards }, () => []);
  while (names.some(({ length }) => length < count)) {
    const name = unique('lane');
    const inShard = names[shardOf(app, name, shards)];
    if (inShard.length < count) inShard.push(name);
  }
  return names.flat();
}
