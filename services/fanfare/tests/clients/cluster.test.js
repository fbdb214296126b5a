import { clusterSite } from './harness/sites.js';
import { scenariosOn } from './harness/suite.js';
import { scenarios } from './scenarios/index.js';

scenariosOn(clusterSite(), scenarios);
