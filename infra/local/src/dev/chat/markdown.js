// A little Markdown, as nodes: paragraphs, headings, lists, fenced code, `code`, **strong**, *emphasis*, and links to http and https. Everything else is the text
// that it is. Nothing here parses HTML: text only ever becomes the text of a node.

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"')\]]+)/g;

function element(name, text) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  return node;
}

function link(text, href) {
  const node = element('a', text);
  node.href = href;
  node.rel = 'noreferrer noopener';
  node.target = '_blank';
  // Where it leads is to be seen, whatever its text says.
  if (text !== href) node.title = href;
  return node;
}

function inline(node, text) {
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, strong, emphasis, label, href, bare] = match;
    node.append(text.slice(from, match.index));
    if (code !== undefined) node.append(element('code', code));
    else if (strong !== undefined) node.append(element('strong', strong));
    else if (emphasis !== undefined) node.append(element('em', emphasis));
    else if (label !== undefined) node.append(link(label, href));
    else node.append(link(bare, bare));
    from = match.index + whole.length;
  }
  node.append(text.slice(from));
  return node;
}

/** The nodes of a text. */
export function nodes(text) {
  const made = [];
  const lines = text.split('\n');
  let paragraph = [];
  const flush = () => {
    if (paragraph.length > 0) made.push(inline(element('p'), paragraph.join('\n')));
    paragraph = [];
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    const item = /^\s{0,3}([-*+]|\d{1,9}[.)])\s+(.*)$/.exec(line);
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (/^\s{0,3}```/.test(line)) {
      flush();
      const code = [];
      for (at += 1; at < lines.length && !/^\s{0,3}```\s*$/.test(lines[at]); at += 1) code.push(lines[at]);
      const block = element('pre');
      block.append(element('code', code.join('\n')));
      made.push(block);
    } else if (heading) {
      flush();
      // The page has headings of its own.
      made.push(inline(element(`h${Math.min(6, heading[1].length + 2)}`), heading[2]));
    } else if (item) {
      flush();
      const name = /\d/.test(item[1]) ? 'ol' : 'ul';
      let list = made.at(-1);
      if (list?.tagName !== name.toUpperCase()) {
        list = element(name);
        if (name === 'ol') list.start = Number.parseInt(item[1], 10);
        made.push(list);
      }
      list.append(inline(element('li'), item[2]));
    } else if (line.trim() === '') {
      flush();
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return made;
}
