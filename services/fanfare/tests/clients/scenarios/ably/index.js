// Every scenario of the Ably protocol that leaves the site as it was.

import { attaching } from './attaching.js';
import { batches } from './batches.js';
import { capabilities } from './capabilities.js';
import { connecting } from './connecting.js';
import { deltas } from './deltas.js';
import { encodings } from './encodings.js';
import { filters } from './filters.js';
import { history } from './history.js';
import { occupancy } from './occupancy.js';
import { order } from './order.js';
import { presence } from './presence.js';
import { publishing } from './publishing.js';
import { rest } from './rest.js';
import { resuming } from './resuming.js';
import { revocation } from './revocation.js';
import { rewind } from './rewind.js';
import { tokens } from './tokens.js';

export const scenarios = [
  connecting,
  attaching,
  publishing,
  order,
  encodings,
  tokens,
  capabilities,
  revocation,
  presence,
  history,
  rewind,
  resuming,
  deltas,
  filters,
  occupancy,
  batches,
  rest,
];
