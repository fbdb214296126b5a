import { clusterSite } from '../clients/harness/sites.js';
import { scenariosOn } from '../clients/harness/suite.js';
import { WebhookReceiver } from '../clients/harness/webhook_receiver.js';
import { ablyLibraries } from './ably.js';
import { javaClient } from './java_client.js';
import { javaHttp } from './java_http.js';

const receivers = { steady: new WebhookReceiver(), mortal: new WebhookReceiver() };

scenariosOn(clusterSite({ receivers }), [javaHttp, javaClient, ablyLibraries]);
