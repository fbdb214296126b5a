import { FEW_SHARDS } from './harness/settings.js';
import { clusterSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { faults } from './scenarios/faults.js';

onSite(clusterSite({ settings: FEW_SHARDS }), faults);
