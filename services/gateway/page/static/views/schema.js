// A form from a JSON schema, as msgspec writes them for the event's struct.

import { field, h } from "../core/dom.js";

// What a schema says once its references and its null are taken away.
export function plain(schema, defs) {
  let one = schema ?? {},
    nullable = false;
  for (let depth = 0; depth < 9; depth += 1) {
    if (one.$ref) {
      one = { ...defs[one.$ref.split("/").pop()], ...without(one, "$ref") };
      continue;
    }
    const some = one.anyOf ?? one.oneOf;
    if (some) {
      const rest = some.filter((each) => each.type !== "null");
      nullable ||= rest.length < some.length;
      if (rest.length === 1) {
        one = { ...without(without(one, "anyOf"), "oneOf"), ...rest[0] };
        continue;
      }
    }
    break;
  }
  return { ...one, nullable };
}

const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

export class SchemaForm {
  constructor(schema, key) {
    const defs = schema.$defs ?? {};
    const struct = plain(schema, defs);
    const required = new Set(struct.required ?? []);
    this.title = struct.title ?? "event";
    this.description = struct.description ?? "";
    this.fields = Object.entries(struct.properties ?? {}).map(([name, one]) => {
      const made = makeField(name, plain(one, defs), required.has(name), name === key);
      return { name, needed: required.has(name), ...made };
    });
    this.node = h(
      "div.form",
      this.fields.map((one) => one.node),
    );
  }

  // The event, or null after the fields that are wrong were marked.
  read() {
    const event = {};
    let good = true;
    for (const one of this.fields) {
      one.fail("");
      try {
        const value = one.read();
        if (value === undefined) {
          if (one.needed) throw new Error("a value is needed");
        } else event[one.name] = value;
      } catch (error) {
        if (good) one.input.focus();
        one.fail(error.message);
        good = false;
      }
    }
    return good ? event : null;
  }

  write(event) {
    for (const one of this.fields) {
      one.fail("");
      one.write(event[one.name]);
    }
  }

  // Show an error of the server at the field that it names; false where it names none.
  blame(message) {
    const found = this.fields.find((one) =>
      new RegExp(`(^|[^\\w])${one.name.replace(/[^\w]/g, "\\$&")}([^\\w]|$)`).test(message),
    );
    found?.fail(message);
    return Boolean(found);
  }
}

function makeField(name, one, needed, isKey) {
  const hints = [isKey ? "the key" : "", needed ? "" : "may be left out", one.description ?? "", bounds(one)]
    .filter(Boolean)
    .join(" · ");
  const finish = (input, read, write, kind) => {
    const made = field(name, input, [kind, hints].filter(Boolean).join(" · "));
    return { node: made.node, input, read, write, fail: made.fail };
  };
  if (one.enum ?? one.const !== undefined) {
    const values = one.enum ?? [one.const];
    const select = h(
      "select",
      needed && !one.nullable ? null : h("option", { value: "" }, "none"),
      values.map((value, i) => h("option", { value: String(i + 1) }, String(value))),
    );
    return finish(
      select,
      () => (select.value ? values[Number(select.value) - 1] : one.nullable && needed ? null : undefined),
      (value) => {
        const i = values.indexOf(value);
        select.value = i < 0 ? "" : String(i + 1);
      },
      "",
    );
  }
  if (one.type === "boolean") {
    const select = h(
      "select",
      needed ? null : h("option", { value: "" }, "not given"),
      h("option", { value: "false" }, "no"),
      h("option", { value: "true" }, "yes"),
    );
    return finish(
      select,
      () => (select.value ? select.value === "true" : undefined),
      (value) => {
        select.value = value === undefined || value === null ? "" : String(value);
      },
      "",
    );
  }
  if (one.type === "integer" || one.type === "number") {
    const input = h("input", {
      type: "text",
      inputMode: one.type === "integer" ? "numeric" : "decimal",
      autocomplete: "off",
    });
    return finish(
      input,
      () => readNumber(input.value.trim(), one),
      (value) => {
        input.value = value ?? "";
      },
      one.type === "integer" ? "whole number" : "number",
    );
  }
  if (one.type === "string") {
    const type = { date: "date", "date-time": "text" }[one.format] ?? "text";
    const input = h("input", { type, autocomplete: "off", placeholder: one.format ?? "" });
    return finish(
      input,
      () =>
        input.value === ""
          ? one.nullable && needed
            ? null
            : needed && !one.minLength
              ? isKey
                ? undefined
                : ""
              : undefined
          : input.value,
      (value) => {
        input.value = value ?? "";
      },
      one.format ?? "text",
    );
  }
  const area = h("textarea", { rows: 2, spellcheck: false, placeholder: one.type === "array" ? "[1, 2, 3]" : "{}" });
  return finish(
    area,
    () => (area.value.trim() ? parse(area.value) : undefined),
    (value) => {
      area.value = value === undefined ? "" : JSON.stringify(value);
    },
    one.type === "array" ? "list, as JSON" : "JSON",
  );
}

function readNumber(text, one) {
  if (text === "") return one.nullable ? null : undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${text}: expected a number`);
  if (one.type === "integer" && !Number.isInteger(value)) throw new Error(`${text}: expected a whole number`);
  if (one.minimum !== undefined && value < one.minimum) throw new Error(`${text}: expected ${one.minimum} or more`);
  if (one.maximum !== undefined && value > one.maximum) throw new Error(`${text}: expected ${one.maximum} or less`);
  return value;
}

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum ?? exclusiveMinimum,
    high = maximum ?? exclusiveMaximum;
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  return low !== undefined ? `from ${low}` : high !== undefined ? `to ${high}` : "";
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON: ${error.message}`);
  }
}
