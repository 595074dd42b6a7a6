// Elements: made by h("div.panel", {...}, children), changed only where something is different.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props, ...children) {
  return fill(document.createElement(tag.split(".")[0]), tag, props, children);
}

export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag.split(".")[0]), tag, props, children);
}

function fill(node, tag, props, children) {
  const classes = tag.split(".").slice(1);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  if (
    props !== undefined &&
    (props === null || props instanceof Node || typeof props !== "object" || Array.isArray(props))
  ) {
    children.unshift(props);
    props = {};
  }
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

function set(node, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "style")
    Object.assign(node.style, value); // by the object model: a policy may forbid the attribute
  else if (name === "class") node.classList.add(...value.split(" ").filter(Boolean));
  else if (name in node && !(node instanceof SVGElement) && name !== "list" && name !== "form") node[name] = value;
  else node.setAttribute(name, value === true ? "" : value);
}

export function text(node, value) {
  const said = value ?? "–";
  if (node.textContent !== String(said)) node.textContent = said;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
}

export function toggle(node, name, on) {
  if (node.classList.contains(name) !== Boolean(on)) node.classList.toggle(name, Boolean(on));
}

// Rows of a table or list by key: a row is made once and then updated, so that focus and selection stay.
export class Rows {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make; // (item) => {node, update(item)}
    this.rows = new Map();
  }

  show(items, key) {
    const wanted = new Set();
    let at = this.parent.firstChild;
    for (const item of items) {
      const name = key(item);
      wanted.add(name);
      let row = this.rows.get(name);
      if (row === undefined) {
        row = this.make(item);
        this.rows.set(name, row);
      }
      row.update?.(item);
      if (row.node !== at) this.parent.insertBefore(row.node, at);
      else at = at.nextSibling;
    }
    for (const [name, row] of this.rows) {
      if (!wanted.has(name)) {
        row.node.remove();
        this.rows.delete(name);
      }
    }
  }
}

export function table(heads, options = {}) {
  const body = h("tbody");
  const cells = heads.map((one) => h("th", { scope: "col", class: one.num ? "num" : "" }, one.name));
  const node = h(
    "table" + (options.tight ? ".tight" : ""),
    options.label ? h("caption.sr", options.label) : null,
    h("thead", h("tr", cells)),
    body,
  );
  return { node: h("div.scroll", { tabIndex: 0, role: "group", ariaLabel: options.label ?? "table" }, node), body };
}

export function panel(title, note, ...children) {
  const noteNode = h("span.note", note ?? "");
  const tools = h("span.buttons");
  const body = h("div.body", ...children);
  const node = h("section.panel", h("header", h("h2", title), noteNode, h("span.grow"), tools), body);
  return { node, body, tools, note: (value) => text(noteNode, value) };
}

export function empty(title, ...explanation) {
  return h("div.empty", h("strong", title), ...explanation.map((one) => (one instanceof Node ? one : h("p", one))));
}

export function command(line) {
  const button = h("button.small.quiet", { type: "button", onclick: copy }, "Copy");
  function copy() {
    navigator.clipboard?.writeText(line).then(
      () => {
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 1500);
      },
      () => {
        button.textContent = "Not allowed";
      },
    );
  }
  return h("span.command", h("code", { tabIndex: 0 }, line), button);
}

export function field(name, input, hint) {
  const id = (input.id ||= `f${(field.count = (field.count ?? 0) + 1)}`);
  const problem = h("span.problem", { hidden: true, id: `${id}p` });
  const node = h("div.field", h("label", { htmlFor: id }, name), input, hint ? h("span.hint", hint) : null, problem);
  return {
    node,
    input,
    fail(said) {
      problem.hidden = !said;
      problem.textContent = said ?? "";
      if (said) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", problem.id);
      } else {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
      }
    },
  };
}

export function pairs(entries) {
  return h(
    "dl.pairs",
    entries
      .filter(([, value]) => value !== undefined && value !== null && value !== "")
      .map(([name, value]) => [h("dt", name), h("dd", value)]),
  );
}

// A dialog; `done` is called with what closes it. Escape closes it, and the focus goes back to where it was.
export function dialog(title, body, actions = [], large = false) {
  const close = () => node.close();
  const node = h(
    "dialog" + (large ? ".large" : ""),
    { ariaLabel: title },
    h(
      "header",
      h("h2", title),
      h("span.grow"),
      h("button.quiet", { type: "button", onclick: close, ariaLabel: "Close" }, "✕"),
    ),
    h("div.body", body),
    actions.length ? h("footer", actions) : null,
  );
  node.addEventListener("close", () => node.remove());
  document.body.append(node);
  node.showModal();
  return { node, close };
}
