import { Way } from './harness/ably/ways.js';
import { clusterSite, devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { acrossProtocols } from './scenarios/ably/across_protocols.js';

for (const site of [devSite(), clusterSite()]) onSite(site, () => acrossProtocols(new Way(site, 'MessagePack')));
