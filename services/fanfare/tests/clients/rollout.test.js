import { RolloutSite } from './harness/rollout/site.js';
import { onSite } from './harness/suite.js';
import { rollout } from './scenarios/rollout.js';

onSite(new RolloutSite(), rollout);
