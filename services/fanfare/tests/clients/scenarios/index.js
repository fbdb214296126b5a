// Every scenario that leaves the site as it was.

import { administration } from './administration.js';
import { authorizedConnections } from './authorized_connections.js';
import { byteExact } from './byte_exact.js';
import { cacheChannels } from './cache_channels.js';
import { channelQueries } from './channel_queries.js';
import { clientEvents } from './client_events.js';
import { closeCodes } from './close_codes.js';
import { connecting } from './connecting.js';
import { echo } from './echo.js';
import { encrypted } from './encrypted.js';
import { fallbackChannels } from './fallback_channels.js';
import { httpApi } from './http_api.js';
import { httpFallback } from './http_fallback.js';
import { httpRefusals } from './http_refusals.js';
import { order } from './order.js';
import { positions } from './positions.js';
import { presence } from './presence.js';
import { presenceLimits } from './presence_limits.js';
import { privateChannels } from './private_channels.js';
import { publishing } from './publishing.js';
import { rawFrames } from './raw_frames.js';
import { restrictedKeys } from './restricted_keys.js';
import { slowReader } from './slow_reader.js';
import { subscribing } from './subscribing.js';
import { subscriptionCount } from './subscription_count.js';
import { swiftJavaHabits } from './swift_java_habits.js';
import { users } from './users.js';
import { watchlist } from './watchlist.js';

export const scenarios = [
  connecting,
  closeCodes,
  subscribing,
  publishing,
  privateChannels,
  presence,
  presenceLimits,
  encrypted,
  cacheChannels,
  users,
  watchlist,
  authorizedConnections,
  subscriptionCount,
  echo,
  clientEvents,
  byteExact,
  positions,
  order,
  httpApi,
  httpRefusals,
  httpFallback,
  channelQueries,
  restrictedKeys,
  rawFrames,
  fallbackChannels,
  swiftJavaHabits,
  slowReader,
  administration,
];
