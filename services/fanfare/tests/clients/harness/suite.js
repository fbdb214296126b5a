// Runs scenarios on a site: one start for all of them, and the servers' output beside each failure.

import { after, afterEach, before, beforeEach, describe } from 'node:test';
import { leaks } from './node.js';
import { runningServers } from './server_process.js';

/** Starting everything, bounded in its parts; this bound is the last resort. */
const START_MS = 600_000;

/** Declares tests that share one running site. `declare(site)` says which. */
export function onSite(site, declare) {
  describe(site.name, () => {
    before(() => startOrExit(site), { timeout: START_MS });
    after(() => stopAndSearch(site));
    showOutputOfFailures();
    declare(site);
  });
}

/** Every scenario on every route of the site. */
export function scenariosOn(site, scenarios) {
  onSite(site, () => {
    for (const route of site.routes) {
      describe(route.name, () => scenarios.forEach((scenario) => scenario(route)));
    }
  });
}

/** A site that does not start says why once, instead of failing every test. */
async function startOrExit(site) {
  try {
    await site.start();
  } catch (error) {
    process.stderr.write(`${site.name} did not start: ${error.stack}\n`);
    process.exit(1);
  }
}

/** Whatever the tests did, no secret may have got into the logs. */
async function stopAndSearch(site) {
  await site.stop();
  const found = leaks();
  if (found.length > 0) throw new Error(`secrets are in the logs:\n${found.slice(0, 20).join('\n')}`);
}

function showOutputOfFailures() {
  let marks = new Map();
  beforeEach(() => {
    marks = new Map(runningServers().map((server) => [server, server.mark()]));
  });
  afterEach((context) => {
    if (context.passed ?? true) return;
    for (const [server, mark] of marks) process.stderr.write(server.outputSince(mark));
  });
}
