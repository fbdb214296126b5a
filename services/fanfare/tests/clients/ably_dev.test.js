import { inBothFormats } from './harness/ably/ways.js';
import { devSite } from './harness/sites.js';
import { scenarios } from './scenarios/ably/index.js';

inBothFormats(devSite(), scenarios);
