// A server as a child process: its output, its end, and the promise that it never outlives the tests.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { LogSearch } from './secrets.js';
import { PATIENCE_MS, eventually, within } from './wait.js';

const KEPT_OUTPUT_CHARS = 200_000;
const SHOWN_OUTPUT_LINES = 60;
const EXIT_MS = 60_000;

/** Tells the kernel to kill the server with us, however we end. Where it is missing (not Linux), only the exit hook helps. */
const TIE_TO_PARENT = ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'];

const running = new Set();

process.on('exit', () => running.forEach((server) => server.signal('SIGKILL')));
// The test runner can be killed without a chance to end its test files; then they must end themselves.
const runner = process.ppid;
setInterval(() => process.ppid === runner || process.exit(1), 1_000).unref();
for (const [signal, number] of [
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGTERM', 15],
]) {
  process.on(signal, () => process.exit(128 + number));
}

/** The environment without settings that would reach the server by accident. */
function cleanEnvironment(additions) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('FANFARE_'));
  return { ...Object.fromEntries(inherited), ...additions };
}

/** Every server of this process that is running now. */
export const runningServers = () => [...running];

export class ServerProcess {
  #child;
  #output = '';
  #dropped = 0;
  #search = new LogSearch();

  constructor(name, command, args, environment = {}) {
    this.name = name;
    const [program, ...rest] = existsSync(TIE_TO_PARENT[0]) ? [...TIE_TO_PARENT, command, ...args] : [command, ...args];
    // Its own process group, so that whatever it starts goes with it.
    this.#child = spawn(program, rest, {
      detached: true,
      env: cleanEnvironment(environment),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => this.#keep(text));
    }
    // Standard output is for whoever started it.
    this.#child.stderr.on('data', (text) => this.#search.take(text));
    /** Resolves with `{ code, signal }` when it has ended. */
    this.exited = new Promise((resolve) => {
      const ended = (outcome) => {
        running.delete(this);
        resolve(outcome);
      };
      this.#child.once('error', (error) => ended({ code: null, signal: null, error }));
      this.#child.once('exit', (code, signal) => ended({ code, signal }));
    });
  }

  get isRunning() {
    return running.has(this);
  }

  /** Secrets that its log tells, in words. */
  get leaks() {
    return this.#search.found.map((found) => `${this.name} logs ${found}`);
  }

  /** A mark in the output, for `outputSince`. */
  mark() {
    return this.#dropped + this.#output.length;
  }

  /** The last lines that it wrote since `mark`. */
  outputSince(mark = 0) {
    const text = this.#output.slice(Math.max(0, mark - this.#dropped)).trimEnd();
    const lines = text === '' ? [] : text.split('\n');
    const omitted = lines.length > SHOWN_OUTPUT_LINES ? [`(${lines.length - SHOWN_OUTPUT_LINES} lines before)`] : [];
    return [...omitted, ...lines.slice(-SHOWN_OUTPUT_LINES)].map((line) => `  ${this.name} | ${line}\n`).join('');
  }

  /** Waits until `probe` says yes; fails at once if the server ends first. Either failure shows its output. */
  async ready(probe, what, ms = PATIENCE_MS) {
    const ended = this.exited.then((outcome) => {
      throw new Error(`${this.name} ended before ${what}: ${describeExit(outcome)}`);
    });
    try {
      await Promise.race([eventually(probe, what, ms), ended]);
    } catch (error) {
      error.message += `\n${this.outputSince()}`;
      throw error;
    }
  }

  /** Sends a signal to the server and everything it started. */
  signal(signal) {
    if (!this.isRunning || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  /** `kill -9`, and waits for the end. */
  async kill() {
    this.signal('SIGKILL');
    return within(this.exited, `the end of ${this.name} after SIGKILL`, EXIT_MS);
  }

  /** SIGTERM, and waits for a voluntary end. */
  async terminate(ms = EXIT_MS) {
    this.signal('SIGTERM');
    try {
      return await within(this.exited, `${this.name} to end after SIGTERM`, ms);
    } catch (error) {
      error.message += `\n${this.outputSince()}`;
      throw error;
    }
  }

  #keep(text) {
    this.#output += text;
    const excess = this.#output.length - KEPT_OUTPUT_CHARS;
    if (excess <= 0) return;
    this.#output = this.#output.slice(excess);
    this.#dropped += excess;
  }
}

function describeExit({ code, signal, error }) {
  if (error) return error.message;
  return signal ? `killed by ${signal}` : `exit code ${code}`;
}
