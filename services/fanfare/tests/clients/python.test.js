import { clusterSite } from './harness/sites.js';
import { scenariosOn } from './harness/suite.js';
import { python } from './scenarios/python.js';

scenariosOn(clusterSite(), [python]);
