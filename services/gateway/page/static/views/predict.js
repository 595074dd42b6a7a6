// Predict: a form made from the event's schema, the prediction, and the version that made it.

import { base, get, post, state } from "../core/api.js";
import { command, empty, h, pairs, panel, replace } from "../core/dom.js";
import { clock, json, number, seconds, short } from "../core/format.js";
import { action, failed } from "../core/notify.js";
import { SchemaForm } from "./schema.js";

export async function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Predict"),
        h("p", "One event by hand, answered with the weights that serve now. Nothing is written to Kafka."),
      ),
    ),
  );
  const ask = panel("The event"),
    answer = panel("The prediction");
  root.append(h("div.grid", h("div.w8", ask.node), h("div.w4", answer.node)));
  replace(
    answer.body,
    empty("Nothing asked yet", "Fill the form, or take the newest event of the stream, and press Predict."),
  );
  let schema;
  try {
    schema = await get(`${base()}/schema`);
  } catch (error) {
    replace(
      ask.body,
      empty(
        "The event's schema is not known",
        error.message,
        "The role ingest tells it. This starts one:",
        command("headrace run ingest --pipeline FOLDER"),
      ),
    );
    return;
  }
  const form = new SchemaForm(schema.event, schema.key);
  ask.note(form.title);
  const raw = h("textarea", { rows: 14, spellcheck: false, ariaLabel: "The event as JSON", hidden: true });
  const modes = h("div.segments", { role: "group", ariaLabel: "How to write the event" });
  const chosen = {
    form: h("button", { type: "button", ariaPressed: "true" }, "Form"),
    json: h("button", { type: "button", ariaPressed: "false" }, "JSON"),
  };
  modes.append(chosen.form, chosen.json);
  const asJson = () => chosen.json.getAttribute("aria-pressed") === "true";
  function mode(toJson) {
    if (toJson === asJson()) return;
    if (toJson)
      raw.value = JSON.stringify(Object.fromEntries(form.fields.map((one) => [one.name, quietly(one.read)])), null, 2);
    else {
      try {
        form.write(JSON.parse(raw.value));
      } catch (error) {
        failed(error);
        return;
      }
    }
    chosen.json.setAttribute("aria-pressed", String(toJson));
    chosen.form.setAttribute("aria-pressed", String(!toJson));
    raw.hidden = !toJson;
    form.node.hidden = toJson;
  }
  chosen.form.addEventListener("click", () => mode(false));
  chosen.json.addEventListener("click", () => mode(true));
  const history = [];

  async function predict() {
    const event = asJson() ? JSON.parse(raw.value) : form.read();
    if (event === null) return;
    const began = performance.now();
    try {
      const said = await post(`${base()}/predict`, event);
      history.unshift({ ...said, took: (performance.now() - began) / 1000, at: Date.now(), event });
      history.splice(8);
      showAnswer(answer, history);
    } catch (error) {
      if (asJson() || !form.blame(error.message))
        replace(answer.body, h("div.notice.bad", { role: "alert" }, h("div.text", error.message)));
    }
  }

  async function newest() {
    const { records } = await get(`${base()}/topics/events/records?last=1`);
    if (!records.length) throw new Error("no event is on the topic yet");
    form.write(records[0].value);
    raw.value = JSON.stringify(records[0].value, null, 2);
  }

  const box = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        go.click();
      },
    },
    form.description ? h("p.muted", { style: { marginBottom: "12px" } }, form.description) : null,
    form.node,
    raw,
  );
  const go = action("Predict", predict, "button.main");
  box.append(h("div.buttons", { style: { marginTop: "16px" } }, go, action("Take the newest event", newest)));
  ask.tools.append(modes);
  ask.body.append(box);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go.click();
  });
  if (page.rest[0]) form.write(JSON.parse(page.rest[0]));
}

const quietly = (read) => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

function showAnswer(answer, history) {
  const [one, ...before] = history;
  const value = one.prediction;
  const shown = typeof value === "number" ? number(value) : typeof value === "object" ? null : String(value);
  const line = (each) =>
    h(
      "tr",
      h("td.muted", clock(each.at)),
      h("td.num", typeof each.prediction === "number" ? number(each.prediction) : json(each.prediction).slice(0, 40)),
      h("td.num", each.version),
    );
  const url = `${location.origin}${base()}/predict`;
  replace(
    answer.body,
    shown === null ? classes(value) : h("div.answer", { id: "prediction", role: "status" }, shown),
    h(
      "div",
      { style: { margin: "12px 0" } },
      pairs([
        [
          "Version",
          h("a", { href: `#/models/${encodeURIComponent(one.model)}`, id: "prediction-version" }, `${one.version}`),
        ],
        ["Model", one.model],
        ["Checkpoint", h("code", { title: one.checkpoint }, short(one.checkpoint, 16))],
        ["Took", `${seconds(one.took)}, with the page's own request`],
      ]),
    ),
    h("h3", "By command"),
    command(
      `curl -s ${url} -H 'Content-Type: application/json' -d '${JSON.stringify(one.event).replaceAll("'", "'\\''")}'`,
    ),
    before.length
      ? [
          h("h3", { style: { marginTop: "14px" } }, "Before"),
          h(
            "table.tight",
            h(
              "thead",
              h(
                "tr",
                ["When", "Prediction", "Version"].map((name, i) =>
                  h("th", { scope: "col", class: i ? "num" : "" }, name),
                ),
              ),
            ),
            h("tbody", before.map(line)),
          ),
        ]
      : null,
  );
  answer.note(state.task);
}

function classes(value) {
  const entries = Array.isArray(value) ? value.map((one, i) => [i, one]) : Object.entries(value ?? {});
  return h(
    "div",
    { id: "prediction", role: "status" },
    entries
      .slice(0, 20)
      .map(([name, one]) =>
        h(
          "div",
          { style: { margin: "6px 0" } },
          h(
            "div.buttons",
            h("strong", String(name)),
            h("span.grow"),
            typeof one === "number" ? number(one) : json(one),
          ),
          typeof one === "number" && one >= 0 && one <= 1
            ? h("span.bar", h("i", { style: { width: `${one * 100}%` } }))
            : null,
        ),
      ),
  );
}
