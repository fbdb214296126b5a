// pusher-js as a page in headless Chromium uses it: its stock build, on a page of another origin than the server's.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { Inbox } from './inbox.js';
import { chromiumBrowser } from './paths.js';
import { ReceivedOnChannel, ReceivedOnConnection } from './received.js';
import { clientOptions } from './subscriber.js';

/** Starting it takes a second, on a busy machine many. */
export const START_MS = 180_000;

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The build that can decrypt, too; `pusher.js` is the one without. */
export const WITH_ENCRYPTION = 'pusher-with-encryption.js';

const { resolve } = createRequire(import.meta.url);
const own = (name) => readFileSync(new URL(`browser/${name}`, import.meta.url));
const build = (name) => readFileSync(resolve(`pusher-js/dist/web/${name}`));

/** A Chromium without a window. */
export const launchChromium = () =>
  chromium.launch({ executablePath: chromiumBrowser(), chromiumSandbox: false, args: FLAGS, timeout: START_MS });

/** An empty page of it. */
export async function newPage(browser) {
  const page = await browser.newPage();
  page.setDefaultTimeout(START_MS);
  return page;
}

/** One Chromium for the tests of the suite in which this is called. */
export function useBrowser() {
  const browser = new Browser();
  before(() => browser.start(), { timeout: START_MS });
  after(() => browser.stop());
  return browser;
}

class Browser {
  #chromium;
  #server = createServer((incoming, outgoing) => serve(incoming.url, outgoing));

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#chromium = await launchChromium();
  }

  async stop() {
    await this.#chromium?.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** A page with a pusher-js that is connecting; it is closed with the test `t`. */
  async open(t, address, app, options = {}, library = 'pusher.js') {
    const page = await newPage(this.#chromium);
    t.after(() => page.close());
    const subscriber = new BrowserSubscriber(page);
    await page.exposeFunction('report', (kind, content) => subscriber.put(kind, content));
    await page.goto(`http://127.0.0.1:${this.#server.address().port}/${library}/`);
    await page.evaluate(([key, all]) => client.start(key, all), [app.key, { ...clientOptions(address), ...options }]);
    return subscriber;
  }

  /** A page whose pusher-js is connected. */
  async connect(t, address, app, options, library) {
    const subscriber = await this.open(t, address, app, options, library);
    await subscriber.connected();
    return subscriber;
  }
}

/** The page for one build of pusher-js is a directory of that build's name. */
function serve(url, outgoing) {
  const [, library, file] = url.split('/');
  const files = {
    '': () => ['text/html', own('page.html')],
    'page.js': () => ['text/javascript', own('page.js')],
    'pusher.js': () => ['text/javascript', build(library)],
  };
  const [type, content] = files[file]?.() ?? ['text/plain', ''];
  outgoing.setHeader('content-type', type);
  outgoing.end(content);
}

/** One channel of a page. */
class BrowserSubscription extends ReceivedOnChannel {
  #page;
  /** The inboxes of `withMetadata`, by event. */
  metadata = new Map();

  constructor(page, name) {
    super(name);
    this.#page = page;
  }

  trigger(event, data) {
    return this.#page.evaluate((words) => client.trigger(...words), [this.name, event, data]);
  }

  async withMetadata(event) {
    const inbox = new Inbox();
    this.metadata.set(event, inbox);
    await this.#page.evaluate((words) => client.bindWithMetadata(...words), [this.name, event]);
    return inbox;
  }

  present() {
    return this.#page.evaluate((name) => client.present(name), this.name);
  }
}

/** The same as a `Subscriber`, in a page: what that does at once, this answers with a promise. */
class BrowserSubscriber extends ReceivedOnConnection {
  socketId;
  #page;
  #subscriptions = new Map();

  constructor(page) {
    super();
    this.#page = page;
  }

  /** Takes what the page reports. */
  put(kind, content) {
    const takers = {
      state: ({ current, socketId }) => {
        this.socketId = socketId;
        this.states.push(current);
      },
      error: (error) => this.errors.push(error),
      message: (message) => this.putMessage(message),
      userEvent: (event) => this.userEvents.push(event),
      watched: (change) => this.watched.push(change),
      channel: ({ name, event, data }) => this.#subscriptions.get(name).put(event, data),
      metadata: ({ name, event, ...rest }) => this.#subscriptions.get(name).metadata.get(event).push(rest),
    };
    takers[kind](content);
  }

  async join(channel) {
    const subscription = new BrowserSubscription(this.#page, channel);
    this.#subscriptions.set(channel, subscription);
    await this.#page.evaluate((name) => client.subscribe(name), channel);
    return subscription;
  }

  async subscribe(channel) {
    const subscription = await this.join(channel);
    await subscription.notice('pusher:subscription_succeeded');
    return subscription;
  }

  unsubscribe(channel) {
    return this.#page.evaluate((name) => client.pusher.unsubscribe(name), channel);
  }

  disconnect() {
    return this.#page.evaluate(() => client.pusher.disconnect());
  }

  async signIn() {
    await this.#page.evaluate(() => client.pusher.signin());
    await this.signedIn();
  }
}
