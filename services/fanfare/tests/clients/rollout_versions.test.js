import { test } from 'node:test';
import { previousBinary } from './harness/paths.js';
import { RolloutSite } from './harness/rollout/site.js';
import { onSite } from './harness/suite.js';
import { upgrade } from './scenarios/rollout.js';

if (previousBinary()) onSite(new RolloutSite(previousBinary), upgrade);
else test('an upgrade under load', { skip: 'there is no binary of the last release: see deploy/dev/previous.sh' });
