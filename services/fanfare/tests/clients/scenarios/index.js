// Every scenario that leaves the site as it was.

import { administration } from './administration.js';
import { byteExact } from './byte_exact.js';
import { channelQueries } from './channel_queries.js';
import { clientEvents } from './client_events.js';
import { connecting } from './connecting.js';
import { echo } from './echo.js';
import { httpRefusals } from './http_refusals.js';
import { order } from './order.js';
import { privateChannels } from './private_channels.js';
import { publishing } from './publishing.js';
import { rawFrames } from './raw_frames.js';
import { restrictedKeys } from './restricted_keys.js';
import { slowReader } from './slow_reader.js';
import { subscribing } from './subscribing.js';

export const scenarios = [
  connecting,
  subscribing,
  publishing,
  privateChannels,
  echo,
  clientEvents,
  byteExact,
  order,
  httpRefusals,
  channelQueries,
  restrictedKeys,
  rawFrames,
  slowReader,
  administration,
];
