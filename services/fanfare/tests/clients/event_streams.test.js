import { Way } from './harness/ably/ways.js';
import { clusterSite, devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { documented } from './scenarios/ably/documented.js';
import { eventStreams } from './scenarios/ably/event_streams.js';

for (const site of [devSite(), clusterSite()]) {
  onSite(site, () => {
    const way = new Way(site, 'JSON');
    eventStreams(way);
    documented(way);
  });
}
