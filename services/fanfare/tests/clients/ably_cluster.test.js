import { inBothFormats } from './harness/ably/ways.js';
import { clusterSite } from './harness/sites.js';
import { scenarios } from './scenarios/ably/index.js';

inBothFormats(clusterSite(), scenarios);
