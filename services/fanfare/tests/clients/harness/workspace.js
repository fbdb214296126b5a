// A temporary directory for everything that the servers of one site write.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Workspace {
  #root = mkdtempSync(join(tmpdir(), 'fanfare-clients-'));
  #removeOnExit = () => this.remove();

  constructor() {
    process.on('exit', this.#removeOnExit);
  }

  /** A directory in it, made if need be. */
  directory(name) {
    const path = join(this.#root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A file in it with this content; returns its path. */
  file(name, content) {
    const path = join(this.#root, name);
    writeFileSync(path, content);
    return path;
  }

  remove() {
    process.off('exit', this.#removeOnExit);
    rmSync(this.#root, { recursive: true, force: true, maxRetries: 5 });
  }
}
