import { FEW_SHARDS } from './harness/settings.js';
import { clusterSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { underFire } from './scenarios/ably/under_fire.js';

// While NATS stands still and elects, nobody can renew a lease or attach, and on a busy machine that takes long.
onSite(clusterSite({ settings: { ...FEW_SHARDS, 'edge.lease_ttl': '40s', 'edge.attach_timeout': '60s' } }), underFire);
