// Short forms for building parts of the page. Names and captions go in as text, never as HTML.

// A new element with properties (not attributes) and children, which may be texts.
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function showText(node, text) {
  node.textContent = text;
  node.hidden = !text;
}
