import { FEW_SHARDS } from './harness/settings.js';
import { clusterSite, devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { catchingUp, continuity } from './scenarios/recovery.js';

onSite(devSite(), ({ routes: [route] }) => continuity(route));
onSite(clusterSite({ settings: FEW_SHARDS }), ({ routes: [route] }) => catchingUp(route));
