import { clusterSite, devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { WebhookReceiver } from './harness/webhook_receiver.js';
import { webhookFailures } from './scenarios/webhook_failures.js';
import { webhooks } from './scenarios/webhooks.js';

const receivers = () => ({ steady: new WebhookReceiver(), mortal: new WebhookReceiver() });

// Every scenario uses both edges, so that one route is enough.
for (const site of [devSite({ receivers: receivers() }), clusterSite({ receivers: receivers() })]) {
  onSite(site, ({ routes: [route] }) => {
    webhooks(route);
    webhookFailures(route);
  });
}
