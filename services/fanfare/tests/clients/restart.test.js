import { clusterSite, devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { failingOver, restarting } from './scenarios/restarting.js';

onSite(devSite(), ({ routes: [route] }) => restarting(route));

onSite(clusterSite(), ({ routes: [route] }) => {
  restarting(route);
  failingOver(route);
});
