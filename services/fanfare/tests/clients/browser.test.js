import { clusterSite } from './harness/sites.js';
import { scenariosOn } from './harness/suite.js';
import { browser } from './scenarios/browser.js';

scenariosOn(clusterSite(), [browser]);
