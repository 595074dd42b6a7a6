// The label's fields; one field of choices is a row of buttons that digits press.

import { field, h } from "../../core/dom.js";
import { number } from "../../core/format.js";

// The label's fields. One field of choices is a row of buttons that digits press, and labels at once.
export function makeForm(fields, prediction, submit) {
  const alone = fields.length === 1 && ["choice", "boolean"].includes(fields[0].kind);
  const made = fields.map((one) => makeField(one, alone ? submit : () => {}));
  return {
    node: h(
      "div",
      { style: { display: "flex", flexDirection: "column", gap: "12px" } },
      made.map((one) => one.node),
    ),
    focus: () => made[0]?.focus(),
    choose: (key) => made.length > 0 && made.some((one) => one.choose?.(key)),
    blame(message) {
      const found = made.find((one) => message.includes(one.name));
      found?.fail(message);
      return Boolean(found);
    },
    read() {
      const label = {};
      for (const one of made) {
        one.fail("");
        try {
          const value = one.read();
          if (value !== undefined) label[one.name] = value;
          else if (one.required) throw new Error("a value is needed");
        } catch (error) {
          one.fail(error.message);
          one.focus();
          return null;
        }
      }
      return label;
    },
  };
}

function makeField(one, chosen) {
  const name = one.title || one.name;
  const hint = [
    one.description,
    one.minimum !== undefined ? `from ${one.minimum}` : "",
    one.maximum !== undefined ? `to ${one.maximum}` : "",
  ]
    .filter(Boolean)
    .join(" · ");
  if (one.kind === "choice" || one.kind === "boolean") {
    const values = one.kind === "boolean" ? [true, false] : one.choices;
    let value;
    const buttons = values.map((each, i) =>
      h(
        "button",
        { type: "button", ariaPressed: "false", onclick: () => take(i) },
        one.kind === "boolean" ? (each ? "yes" : "no") : String(each),
        i < 9 ? h("kbd", i + 1) : null,
      ),
    );
    const take = (i) => {
      value = values[i];
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
      buttons.forEach((button, at) => button.classList.toggle("main", at === i));
      chosen();
    };
    const problem = h("span.problem", { hidden: true });
    return {
      name: one.name,
      required: one.required,
      node: h(
        "div.field",
        { role: "group", ariaLabel: name },
        h("span.name", name),
        h("div.choices", buttons),
        hint ? h("span.hint", hint) : null,
        problem,
      ),
      read: () => value,
      focus: () => {},
      fail(said) {
        problem.hidden = !said;
        problem.textContent = said;
      },
      choose(key) {
        const i = Number(key) - 1;
        if (!(i >= 0 && i < Math.min(9, values.length))) return false;
        take(i);
        return true;
      },
    };
  }
  const isNumber = one.kind === "number" || one.kind === "integer";
  const input =
    one.kind === "json" || one.kind === "choices"
      ? h("textarea", { rows: 2 })
      : h("input", {
          type: "text",
          inputMode: isNumber ? (one.kind === "integer" ? "numeric" : "decimal") : "text",
          autocomplete: "off",
        });
  const held = field(
    name,
    input,
    hint || (one.kind === "choices" ? `some of ${one.choices?.join(", ")}, as a JSON list` : ""),
  );
  return {
    name: one.name,
    required: one.required,
    node: held.node,
    fail: held.fail,
    focus: () => input.focus(),
    read() {
      const said = input.value.trim();
      if (said === "") return undefined;
      if (isNumber) {
        const value = Number(said.replace(",", "."));
        if (!Number.isFinite(value)) throw new Error(`${said}: expected a number`);
        return value;
      }
      return one.kind === "json" || one.kind === "choices" ? JSON.parse(said) : said;
    },
  };
}
