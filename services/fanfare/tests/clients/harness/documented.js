// Code from the documentation, so that what is written there is what is tested.

import { readFileSync } from 'node:fs';

const DOCS = new URL('../../../../../docs/', import.meta.url);

/** The block of a page of `docs/` whose first line is the comment `// {title}`. */
export function codeBlock(page, title) {
  const blocks = readFileSync(new URL(page, DOCS), 'utf8').split(/^```/m);
  const head = `js\n// ${title}\n`;
  const block = blocks.find((text) => text.startsWith(head));
  if (!block) throw new Error(`docs/${page} has no block of JavaScript that begins with "// ${title}"`);
  return block.slice('js\n'.length);
}
