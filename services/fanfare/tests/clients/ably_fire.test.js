import { FEW_SHARDS } from './harness/settings.js';
import { clusterSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { underFire } from './scenarios/ably/under_fire.js';

onSite(clusterSite({ settings: FEW_SHARDS }), underFire);
