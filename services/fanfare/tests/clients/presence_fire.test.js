// Presence under fire: a crowd that comes and goes on three edges while these, NATS and connections fail, and a checker
// that knows who is there. See `harness/fire/settings.js` for its variables.

import { test } from 'node:test';
import { Fire } from './harness/fire/fire.js';
import { ROUNDS_MS, SEED } from './harness/fire/settings.js';
import { FireSite } from './harness/fire/site.js';
import { onSite } from './harness/suite.js';

/** More than one round takes when every wait is as long as it may be. */
const ROUND_MS = 1_800_000;

onSite(new FireSite(), (site) => {
  test('all edges, the API and webhooks agree on who is present', { timeout: ROUNDS_MS + ROUND_MS }, async (t) => {
    t.diagnostic(`FANFARE_FIRE_SEED=${SEED}`);
    await new Fire(site).burn(t);
  });
});
