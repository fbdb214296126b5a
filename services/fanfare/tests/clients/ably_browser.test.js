import { FORMATS, Way } from './harness/ably/ways.js';
import { clusterSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { browser } from './scenarios/ably/browser.js';
import { describe } from 'node:test';

onSite(clusterSite(), (site) => {
  for (const format of Object.keys(FORMATS)) describe(format, () => browser(new Way(site, format)));
});
