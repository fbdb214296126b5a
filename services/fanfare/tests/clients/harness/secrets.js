// What must be in no log, at whatever level: secrets, tokens and signatures, and the names and data that tests publish.
// Keys appear there by their names, channels by a hash.

/** Texts that are searched for, and what they are. */
const secrets = new Map();
/** The random parts of names and data. */
const names = new Set();

/** What is made while tests run, by its shape. */
const SHAPES = [
  ['a signature', /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/],
  ['a JWT', /\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+/],
  ['a token of the Ably protocol', /\b[A-Z0-9a-z]+\.[\w-]{48,}/],
  ['a token for the control plane', /\bfat_[0-9A-Za-z]{12}_\w+/],
];

/** From now on, `text` in a log is a failure. */
export function keepSecret(text, what) {
  if (text.length < 8) throw new Error(`${what} could be anywhere: ${text}`);
  secrets.set(text, what);
}

/** The same for a name that no other test uses, by its random part of 12 hex digits. */
export const keepName = (random) => names.add(random);

/** Searches a log while it is written, since not all of it is kept. */
export class LogSearch {
  #rest = '';
  /** What was found, in words and with the line. */
  found = [];

  take(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    lines.forEach((line) => this.#search(line));
  }

  #search(line) {
    const shown = () => line.slice(0, 400);
    for (const [text, what] of secrets) if (line.includes(text)) this.found.push(`${what}: ${shown()}`);
    for (const [what, shape] of SHAPES) if (shape.test(line)) this.found.push(`${what}: ${shown()}`);
    for (const [random] of line.matchAll(/(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])/g)) {
      if (names.has(random)) this.found.push(`a name or data of a test: ${shown()}`);
    }
  }
}
