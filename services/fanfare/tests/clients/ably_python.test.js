import { TlsSite } from './harness/ably/tls_site.js';
import { onSite } from './harness/suite.js';
import { python } from './scenarios/ably/python.js';

onSite(new TlsSite(), python);
