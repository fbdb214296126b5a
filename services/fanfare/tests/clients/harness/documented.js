// Code from the documentation, so that what is written there is what is tested.

import { readFileSync } from 'node:fs';

const DOCS = new URL('../../../../../docs/', import.meta.url);

/** The block of JavaScript of a page of `docs/` whose first line is the comment `// {title}`. */
export const codeBlock = (page, title) => block(page, 'js', `// ${title}`);

/** The same for a block of shell, with `# {title}`. */
export const shellBlock = (page, title) => block(page, 'sh', `# ${title}`);

function block(page, language, comment) {
  const blocks = readFileSync(new URL(page, DOCS), 'utf8').split(/^```/m);
  const head = `${language}\n${comment}\n`;
  const found = blocks.find((text) => text.startsWith(head));
  if (!found) throw new Error(`docs/${page} has no block of ${language} that begins with "${comment}"`);
  return found.slice(`${language}\n`.length);
}
