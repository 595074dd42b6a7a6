// Labelling: one item after another by the keyboard; leases, undo, skip, review by a second person, agreement.

import { get, post, Refused } from "../core/api.js";
import { empty, field, h, pairs, panel, replace, Rows, table, text } from "../core/dom.js";
import { count, json, number, seconds } from "../core/format.js";
import { action, failed, toast } from "../core/notify.js";
import { person, personInput } from "../core/person.js";
import { asked } from "./role.js";

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Labelling"),
        h(
          "p",
          "What a person says was true becomes a label on the pipeline's topic; the model learns from it within seconds.",
        ),
      ),
      h("span.grow"),
      h(
        "div.field",
        h("span.name", "You are"),
        personInput(() => work.next()),
      ),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const queues = makeQueues(),
    work = makeWork(page),
    agreement = makeAgreement();
  holder.append(work.node, queues.node, agreement.node);
  queues.onOpen((queue) => {
    work.open(queue);
    agreement.open(queue);
  });
  asked(page, "queues", "The role labelling", holder, (said) => {
    queues.show(said.queues);
    const wanted = page.rest[0];
    const first =
      said.queues.find((one) => one.name === wanted) ?? said.queues.find((one) => one.open > 0) ?? said.queues[0];
    if (first && !work.queue) {
      work.open(first.name);
      agreement.open(first.name);
    }
    work.changed(said);
    agreement.changed(said);
  });
}

function makeQueues() {
  const made = panel("Queues", "what is to be labelled");
  made.body.classList.add("flush");
  made.tools.append(
    h("a.button.small", { href: "/v1/labelling/export", download: "labels.json" }, "Export"),
    importButton(),
  );
  const list = table(
    [
      { name: "Queue" },
      { name: "What" },
      { name: "Open", num: true },
      { name: "Leased", num: true },
      { name: "Review", num: true },
      { name: "Held", num: true },
      { name: "Published", num: true },
      { name: "Skipped", num: true },
      { name: "" },
    ],
    { label: "Queues", tight: true },
  );
  const nothing = empty(
    "No queue",
    "Queues stand under labelling: in pipeline.yaml: all events, a sample, the least certain, where champion and shadow disagree, drifted slices, dead letters.",
  );
  made.body.append(list.node, nothing);
  let open = () => {};
  const rows = new Rows(list.body, (queue) => {
    const cells = ["td.mono", "td.wide.small", "td.num", "td.num", "td.num", "td.num", "td.num", "td.num"].map((one) =>
      h(one),
    );
    return {
      node: h(
        "tr.open",
        { onclick: () => open(queue.name) },
        cells,
        h(
          "td.num",
          h(
            "button.small.quiet",
            {
              type: "button",
              ariaLabel: `Label ${queue.name}`,
              onclick: (event) => {
                event.stopPropagation();
                open(queue.name);
              },
            },
            "Label",
          ),
        ),
      ),
      update: (one) =>
        [
          one.name,
          one.what,
          count(one.open),
          count(one.leased),
          count(one.review),
          count(one.held),
          count(one.published),
          count(one.skipped),
        ].forEach((value, i) => text(cells[i], value)),
    };
  });
  return {
    node: made.node,
    onOpen: (fn) => {
      open = fn;
    },
    show(some) {
      nothing.hidden = some.length > 0;
      list.node.hidden = !some.length;
      rows.show(some, (one) => one.name);
    },
  };
}

function importButton() {
  const input = h("input", { type: "file", accept: ".json", hidden: true, ariaLabel: "Label Studio's JSON" });
  input.addEventListener("change", async () => {
    const file = input.files[0];
    input.value = "";
    if (!file) return;
    try {
      const answer = await fetch("/v1/labelling/import", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: file,
      });
      const said = await answer.json();
      if (!answer.ok) throw new Refused(said.error, answer.status);
      toast(
        `${count(said.labels)} labels of ${count(said.tasks)} tasks taken, ${count(said.refused.length)} refused${said.refused[0] ? `: ${said.refused[0].reason}` : ""}`,
        said.refused.length ? "bad" : "",
      );
    } catch (error) {
      failed(error);
    }
  });
  return h("span", input, h("button.small", { type: "button", onclick: () => input.click() }, "Import"));
}

function makeWork(page) {
  const made = panel("To label", "");
  const body = h("div", { id: "work" });
  made.body.append(body);
  const self = { node: made.node, queue: "", open, next, changed };
  let item = null,
    form = null,
    fields = null,
    renew = null,
    openBefore = 0,
    review = false;
  const only = h(
    "select",
    { ariaLabel: "Purpose", style: { width: "auto" } },
    h("option", { value: "also" }, "label and review"),
    h("option", { value: "never" }, "label only"),
    h("option", { value: "only" }, "review only"),
  );
  only.addEventListener("change", () => next(true));
  made.tools.append(only);

  function open(queue) {
    self.queue = queue;
    text(made.node.querySelector("h2"), `To label: ${queue}`);
    next();
  }

  function changed(said) {
    const now = said.queues.find((one) => one.name === self.queue)?.open ?? 0;
    if (!item && now > openBefore && person() && self.queue) next();
    openBefore = now;
  }

  async function next(fresh = false) {
    clearInterval(renew);
    item = null;
    if (!self.queue) return;
    if (!person()) {
      replace(
        body,
        empty(
          "Who are you?",
          "Write your name at the top right: every label says who gave it, and nobody reviews their own.",
        ),
      );
      return;
    }
    try {
      fields ??= await get("/v1/labelling/form");
      const said = await post(`/v1/labelling/queues/${encodeURIComponent(self.queue)}/lease`, {
        labeller: person(),
        review: only.value,
        fresh,
      });
      item = said.item;
    } catch (error) {
      replace(body, h("div.notice.bad", h("div.text", error.message)));
      return;
    }
    if (!item) {
      replace(
        body,
        empty(
          "Nothing to label now",
          "New items come by themselves as events do. ",
          "Items that others have leased come back if they do not label them in time.",
        ),
      );
      return;
    }
    review = item.lease?.purpose === "review";
    show();
    renew = setInterval(
      () =>
        item &&
        post(`/v1/labelling/items/${encodeURIComponent(item.id)}/renew`, { labeller: person() }).catch(() => {}),
      20000,
    );
  }

  function show() {
    form = makeForm(fields.fields, item.prediction, submit);
    const before = item.decisions.filter((one) => one.kind !== "skip" && !one.undone);
    const why = Object.entries(item.queues ?? {})
      .map(([name, score]) => (score === null ? name : `${name} ${number(score)}`))
      .join(", ");
    const left = h(
      "div",
      h("h3", "The event"),
      item.letter ? h("div.notice.bad", h("div.text", h("strong", item.letter.phase), ` ${item.letter.reason}`)) : null,
      item.event
        ? pairs(
            Object.entries(item.event).map(([name, value]) => [
              name,
              h("code", typeof value === "object" ? json(value) : String(value)),
            ]),
          )
        : h("pre", json(item.letter?.value ?? null, 2)),
    );
    const right = h(
      "div",
      { style: { display: "flex", flexDirection: "column", gap: "14px" } },
      h(
        "div.pairs",
        h("dt", "Predicted"),
        h(
          "dd",
          h(
            "strong",
            item.prediction === null || item.prediction === undefined
              ? "nothing"
              : typeof item.prediction === "number"
                ? number(item.prediction)
                : json(item.prediction),
          ),
          h("span.muted", ` by version ${item.version ?? "–"}`),
        ),
        h("dt", "In"),
        h("dd", why || self.queue),
        item.expires
          ? [
              h("dt", "Until"),
              h("dd", `${new Date(item.expires).toLocaleTimeString("en-GB")}: a label after that teaches nothing`),
            ]
          : null,
        review && before.length
          ? [h("dt", "Labelled"), h("dd", before.map((one) => `${one.labeller}: ${json(one.label)}`).join("; "))]
          : null,
      ),
      form.node,
      h(
        "div.buttons",
        action(review ? "Label (second opinion)" : "Label", submit, "button.main"),
        review && before.length ? action("Accept", () => decide("review", { accept: true }), "button") : null,
        action("Skip", skip),
        action("Undo", undo),
        h("span.grow"),
        h(
          "span.muted.small",
          h("kbd", "Enter"),
          " label · ",
          h("kbd", "S"),
          " skip · ",
          h("kbd", "U"),
          " undo",
          review && before.length ? [" · ", h("kbd", "A"), " accept"] : null,
        ),
      ),
    );
    made.note(`${item.key}${review ? " · review" : ""}`);
    replace(body, h("div.item-card", left, right));
    form.focus();
  }

  async function decide(kind, more) {
    const now = item;
    try {
      await post(`/v1/labelling/items/${encodeURIComponent(now.id)}/${kind}`, { labeller: person(), ...more });
      await next();
    } catch (error) {
      if (!form?.blame(error.message)) failed(error);
      if (error.status === 409) await next();
    }
  }

  async function submit() {
    if (!item) return;
    const label = form.read();
    if (label !== null) await decide(review ? "review" : "label", { label });
  }

  const skip = () => item && decide("skip", {});

  async function undo() {
    try {
      const said = await post(`/v1/labelling/queues/${encodeURIComponent(self.queue)}/undo`, { labeller: person() });
      toast(said.effect || "Undone");
      clearInterval(renew);
      item = said.item;
      review = false;
      fields ??= await get("/v1/labelling/form");
      show();
    } catch (error) {
      failed(error);
    }
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog, textarea, select")) return;
    const typing = event.target.closest("input[type='text']:not([inputmode='decimal']):not([inputmode='numeric'])");
    if (event.key === "Enter" && item && (event.target.closest("#work") || event.target === document.body)) {
      if (event.target.closest("button")) return;
      event.preventDefault();
      submit();
    } else if (typing) return;
    else if (event.key.toLowerCase() === "s" && item) {
      event.preventDefault();
      skip();
    } else if (event.key.toLowerCase() === "u" && self.queue) {
      event.preventDefault();
      undo();
    } else if (event.key.toLowerCase() === "a" && item && review) {
      event.preventDefault();
      decide("review", { accept: true });
    } else if (item && form.choose(event.key)) event.preventDefault();
  }
  // Before the page's own keys: digits choose a class here, and not a view.
  document.addEventListener("keydown", keys, true);
  page.onLeave(() => {
    document.removeEventListener("keydown", keys, true);
    clearInterval(renew);
    if (item)
      post(`/v1/labelling/items/${encodeURIComponent(item.id)}/release`, { labeller: person() }).catch(() => {});
  });
  return self;
}

// The label's fields. One field of choices is a row of buttons that digits press, and labels at once.
function makeForm(fields, prediction, submit) {
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

function makeAgreement() {
  const made = panel("Agreement", "where two people labelled the same item");
  made.node.hidden = true;
  let queue = "",
    seen = "";
  async function load() {
    try {
      const { agreement, labellers } = await get(`/v1/labelling/queues/${encodeURIComponent(queue)}`);
      made.node.hidden = !labellers.length;
      made.note(
        agreement.items
          ? `${count(agreement.items)} items were labelled by two people`
          : "no item was labelled by two people yet",
      );
      replace(
        made.body,
        h(
          "div.grid",
          h(
            "div.w5.scroll",
            { tabIndex: 0, role: "group", ariaLabel: "Labellers" },
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  ["Labeller", "Labels", "Reviews", "Skips", "Median time"].map((name, i) =>
                    h("th", { scope: "col", class: i ? "num" : "" }, name),
                  ),
                ),
              ),
              h(
                "tbody",
                labellers.map((one) =>
                  h(
                    "tr",
                    h("td", one.labeller),
                    h("td.num", count(one.labels)),
                    h("td.num", count(one.reviews)),
                    h("td.num", count(one.skips)),
                    h("td.num", seconds(one.seconds)),
                  ),
                ),
              ),
            ),
          ),
          h(
            "div.w7",
            !agreement.items
              ? h(
                  "p.muted",
                  "Where a share of the items is reviewed (labelling: review in pipeline.yaml), this shows how often two people agree.",
                )
              : agreement.fields.map((one) =>
                  h(
                    "div",
                    { style: { marginBottom: "8px" } },
                    h(
                      "div.buttons",
                      h("strong", one.field),
                      h("span.grow"),
                      one.percent === null || one.percent === undefined ? "" : `${number(one.percent)} % agree`,
                      one.kappa !== null && one.kappa !== undefined ? h("span.muted", ` κ ${number(one.kappa)}`) : null,
                      one.mean_absolute_difference !== null && one.mean_absolute_difference !== undefined
                        ? h("span.muted", ` mean difference ${number(one.mean_absolute_difference)}`)
                        : null,
                    ),
                    h("span.bar", h("i", { style: { width: `${one.percent ?? 0}%` } })),
                  ),
                ),
          ),
        ),
      );
    } catch (error) {
      made.node.hidden = true;
    }
  }
  return {
    node: made.node,
    open(name) {
      queue = name;
      seen = "";
      load();
    },
    changed(said) {
      const now = said.queues.find((one) => one.name === queue);
      const key = now ? `${now.labels} ${now.published}` : "";
      if (queue && key !== seen) {
        seen = key;
        load();
      }
    },
  };
}
