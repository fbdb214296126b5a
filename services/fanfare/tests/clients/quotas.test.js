// Quotas as clients and server libraries meet them: refused in the form of the protocol, and over when there is room.

import { devSite } from './harness/sites.js';
import { onSite } from './harness/suite.js';
import { WebhookReceiver } from './harness/webhook_receiver.js';
import { quotas } from './scenarios/quotas.js';

onSite(devSite({ receivers: { steady: new WebhookReceiver() } }), ({ routes: [route] }) => quotas(route));
