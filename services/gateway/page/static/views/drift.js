// Drift and alerts: what is wrong now, what people silenced, and each column beside its reference.

import { get, post, send } from "../core/api.js";
import { Bars } from "../core/charts.js";
import { command, dialog, empty, field, h, panel, replace, Rows, table, text } from "../core/dom.js";
import { count, moment, number, seconds } from "../core/format.js";
import { action, confirm, toast } from "../core/notify.js";
import { named, personInput } from "../core/person.js";
import { asked } from "./role.js";

const SEVERITY = { CRITICAL: "bad", WARNING: "warn", INFO: "hi" };
const STATE = { drifted: "bad", unsteady: "warn", steady: "good", learning: "hi" };

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Drift and alerts"),
        h("p", "Whether what comes in still looks like what the model learned from, and what is wrong now."),
      ),
      h("span.grow"),
      personInput(),
    ),
  );
  const monitor = mountMonitor(root, page);
  const holder = h("div.stack");
  root.append(holder);
  mountAlerts(holder, page, monitor);
  mountColumns(holder, page);
}

// Without the role drift there are still the monitor's own alerts, in its snapshot.
function mountMonitor(root, page) {
  const made = panel("Alerts of the monitor", "as its snapshot has them");
  const body = h("div");
  made.body.append(body);
  root.append(made.node);
  page.follow("flow", (said) => {
    const firing = said.snapshot?.alerts ?? [];
    const now = JSON.stringify(firing);
    if (body.dataset.said === now) return;
    body.dataset.said = now;
    replace(
      body,
      firing.length
        ? firing.map((one) =>
            h(
              `div.notice.${SEVERITY[one.severity?.toUpperCase()] ?? "warn"}`,
              h(
                "div.text",
                h("strong", one.name),
                ` ${one.message}`,
                h("div.muted.small", `${one.model || "the pipeline"}, since ${moment(one.since_us / 1000)}`),
              ),
            ),
          )
        : h("p.muted", "Nothing is wrong."),
    );
  });
  return made.node;
}

function mountAlerts(holder, page, monitor) {
  const made = panel("Alerts", "on now first");
  made.body.classList.add("flush");
  holder.append(made.node);
  const list = table(
    [
      { name: "" },
      { name: "Alert" },
      { name: "About" },
      { name: "Message" },
      { name: "Value", num: true },
      { name: "From", num: true },
      { name: "Since" },
      { name: "" },
    ],
    { label: "Alerts", tight: true },
  );
  const nothing = empty(
    "No alert was ever raised",
    "Alerts come from the monitor (errors, failing versions) and from the role drift (inputs, predictions, volume, latency).",
  );
  made.body.append(list.node, nothing);
  made.tools.append(
    action("Silence a pattern …", () => silence("", "a pattern"), "button.small"),
    action("What is watched", definitions, "button.small"),
  );
  const rows = new Rows(list.body, (alert) => {
    let latest = alert;
    const cells = ["td", "td.keep", "td.keep", "td.wide", "td.num", "td.num", "td.keep"].map((one) => h(one));
    const quiet = action(
      "Silence …",
      () => silence(latest.id, `${latest.name} of ${latest.subject || latest.model}`),
      "button.small.quiet",
    );
    return {
      node: h("tr", cells, h("td.num", quiet)),
      update(one) {
        latest = one;
        const state = one.silenced ? "silenced" : one.firing ? one.severity.toLowerCase() : "over";
        if (cells[0].textContent !== state)
          replace(
            cells[0],
            h("span.badge", { class: one.silenced || !one.firing ? "plain" : (SEVERITY[one.severity] ?? "") }, state),
          );
        text(cells[1], one.name);
        text(
          cells[2],
          [one.subject, one.version ? `version ${one.version}` : ""].filter(Boolean).join(", ") || one.model,
        );
        text(cells[3], one.message);
        text(cells[4], number(one.value));
        text(cells[5], number(one.threshold));
        text(cells[6], moment((one.since_us || one.at_us) / 1000));
        quiet.hidden = one.silenced || !one.firing;
      },
    };
  });
  asked(page, "alerts", "The role drift", made.node, (said) => {
    monitor.hidden = true;
    nothing.hidden = said.alerts.length > 0;
    list.node.hidden = !said.alerts.length;
    const on = said.alerts.filter((one) => one.firing && !one.silenced).length;
    made.note(on ? `${on} on now` : "nothing is wrong now");
    rows.show(
      [...said.alerts]
        .sort((a, b) => b.firing - a.firing || a.silenced - b.silenced || b.at_us - a.at_us)
        .slice(0, 100),
      (one) => one.id,
    );
  });
  mountSilences(holder, page);
}

function mountSilences(holder, page) {
  const made = panel("Silences", "alerts that nobody is told of meanwhile");
  made.node.hidden = true;
  holder.append(made.node);
  page.follow("silences", (said) => {
    const some = said.running ? said.answer.silences : [];
    made.node.hidden = !some.length;
    const now = JSON.stringify(some);
    if (made.body.dataset.said === now) return;
    made.body.dataset.said = now;
    replace(
      made.body,
      some.map((one) =>
        h(
          "div.buttons",
          { style: { marginBottom: "6px" } },
          h("code", one.match),
          h(
            "span.muted.small",
            `by ${one.by || "somebody"}${one.reason ? `: ${one.reason}` : ""}, until ${moment((one.until_us ?? 0) / 1000)}`,
          ),
          h("span.grow"),
          action(
            "End it",
            () => send("DELETE", `/v1/silences/${encodeURIComponent(one.id ?? one.match)}`),
            "button.small.quiet",
          ),
        ),
      ),
    );
  });
}

function silence(id, what) {
  const match = h("input", { type: "text", value: id, placeholder: "rides/feature_drift/*" });
  const hours = h(
    "select",
    [
      ["900", "15 minutes"],
      ["3600", "1 hour"],
      ["14400", "4 hours"],
      ["86400", "1 day"],
      ["604800", "1 week"],
    ].map(([value, name]) => h("option", { value, selected: value === "3600" }, name)),
  );
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever wonders" });
  const problem = h("div", { role: "alert" });
  const go = action(
    "Silence",
    async () => {
      const body = { for_s: Number(hours.value), reason: reason.value, by: named() };
      try {
        if (match.value === id && id) await post(`/v1/alerts/${encodeURIComponent(id)}/silence`, body);
        else await post("/v1/silences", { match: match.value, ...body });
        toast("Silenced");
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    `Silence ${what}`,
    [
      h("p", "The alert is still raised and shown; nobody is told of it meanwhile."),
      field("Alert, or a pattern with *", match).node,
      h("div.form", field("For", hours).node, field("Reason", reason).node),
      problem,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

async function definitions() {
  const { rules } = await get("/v1/alerts/rules");
  dialog(
    "What is watched",
    [
      h(
        "p.muted",
        "The same definitions for Prometheus: ",
        h("a", { href: "/v1/alerts/prometheus" }, "rules"),
        ", and for Grafana: ",
        h("a", { href: "/v1/alerts/grafana" }, "dashboard"),
        ".",
      ),
      h(
        "div.scroll",
        h(
          "table.tight",
          h(
            "thead",
            h(
              "tr",
              ["Alert", "Severity", "Meaning", "To do"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            rules.map((one) =>
              h(
                "tr",
                h("td.keep", one.name),
                h("td", h("span.badge", { class: SEVERITY[one.severity] ?? "" }, one.severity.toLowerCase())),
                h("td.wide", one.meaning || one.summary),
                h("td.wide", one.to_do),
              ),
            ),
          ),
        ),
      ),
    ],
    [],
    true,
  );
}

function mountColumns(holder, page) {
  const made = panel("Columns", "now, beside the reference");
  const tiles = h("div.tiles"),
    list = h("div.profiles");
  made.body.append(list);
  holder.append(tiles, made.node);
  made.tools.append(
    h("span.legend", h("span", h("i.swatch-accent"), "now"), h("span", h("i.swatch-amber"), "reference")),
    action(
      "Take the reference anew …",
      async () => {
        if (
          await confirm(
            "Take the reference anew?",
            [h("p", "What comes from now on becomes what later events are compared with. Alerts of drift end.")],
            "Take it anew",
          )
        )
          await post("/v1/drift/reset", {});
      },
      "button.small",
    ),
  );
  const rows = new Rows(list, makeColumn);
  const box = h("div.stack");
  made.node.before(box);
  box.append(tiles, made.node);
  asked(page, "drift", "The role drift", box, (said) => {
    const { reference } = said;
    const whence = reference.kind === "file" ? "a file" : `the first ${count(reference.events)} events`;
    made.note(
      reference.ready
        ? `now, beside the reference: ${whence}`
        : `the reference is being taken: ${count(reference.learned)} of ${count(reference.events)} events`,
    );
    const order = { drifted: 0, unsteady: 1, learning: 2, steady: 3, identifier: 4 };
    rows.show(
      [...said.columns].sort((a, b) => (order[a.state] ?? 5) - (order[b.state] ?? 5)),
      (one) => `${one.of} ${one.model} ${one.column}`,
    );
    showTiles(tiles, said);
  });
}

function showTiles(tiles, said) {
  const change = ([model, one], name) => [
    `${name}${Object.keys(said.errors).length > 1 ? `, ${model}` : ""}`,
    number(one.recent),
    `${one.state}${one.usual !== null ? ` · usual ${number(one.usual)}` : ""}`,
    one.state,
  ];
  const made = [
    ...Object.entries(said.errors ?? {}).map((one) => change(one, "Error")),
    ...Object.entries(said.scores ?? {}).map((one) => change(one, "Prediction")),
    [
      "Events a second",
      number(said.volume.per_second),
      said.volume.usual === null
        ? said.volume.state
        : `${said.volume.state} · usual ${number(said.volume.usual)}, ${number(said.volume.low)} to ${number(said.volume.high)}`,
      said.volume.state,
    ],
    [
      "Latency, p99",
      seconds(said.latency.p99_s),
      said.latency.usual_s === null
        ? said.latency.state
        : `${said.latency.state} · usual ${seconds(said.latency.usual_s)}, limit ${seconds(said.latency.limit_s)}`,
      said.latency.state,
    ],
    [
      "Events taken",
      count(said.counts.events),
      `${count(said.counts.predictions)} predictions · ${count(said.counts.labels)} labels`,
      "",
    ],
    [
      "Waiting for a label",
      count(said.waiting),
      said.labels_share === null || said.labels_share === undefined
        ? ""
        : `${(said.labels_share * 100).toFixed(0)} % of events get one`,
      "",
    ],
  ];
  const key = JSON.stringify(made);
  if (tiles.dataset.said === key) return;
  tiles.dataset.said = key;
  replace(
    tiles,
    made.map(([name, value, under, state]) =>
      h(
        "div.tile",
        h("span.label", name),
        h("div.value", { class: STATE[state] === "bad" ? "bad" : "" }, value),
        h("div.sub", under),
      ),
    ),
  );
}

function makeColumn(column) {
  const bars = new Bars({
    height: 96,
    label: `${column.column} now and in the reference`,
    format: (value) => `${(value * 100).toFixed(1)} %`,
  });
  const state = h("span"),
    facts = h("div.small.muted"),
    distances = h("div.small");
  const node = h(
    "div.profile",
    h(
      "div.buttons",
      h("strong", column.column),
      h("span.muted.small", column.of === "prediction" ? `predicted by ${column.model}` : "input"),
      h("span.grow"),
      state,
    ),
    bars.node,
    distances,
    facts,
  );
  return {
    node,
    update(one) {
      if (state.textContent !== one.state)
        replace(state, h("span.badge", { class: STATE[one.state] ?? "" }, one.state));
      const { reference, now } = one;
      const share = (counts) => {
        const sum = counts.reduce((a, b) => a + b, 0) || 1;
        return counts.map((n) => n / sum);
      };
      bars.node.hidden = !reference || one.state === "identifier";
      if (!reference) {
        text(distances, `the reference is being taken: ${count(one.learned)} events`);
      } else {
        const [before, after] = [share(reference.counts), share(now.counts)];
        const names =
          reference.categories ?? before.map((_, i) => (i < reference.edges.length ? number(reference.edges[i]) : ""));
        if (!bars.node.hidden)
          bars.show(before.map((value, i) => ({ name: names[i] ?? i, value: after[i], against: value })));
        const ofLimit = (value, limit) => (value === null ? "" : `${number(value)} of ${number(limit)}`);
        text(
          distances,
          Object.entries(one.windows)
            .map(
              ([window, each]) =>
                `${window}: PSI ${ofLimit(each.psi, each.limit_psi)}${each.ks === null ? "" : `, KS ${ofLimit(each.ks, each.limit_ks)}`}`,
            )
            .join(" · ") ||
            (one.state === "identifier" ? "every value is another: not compared" : "the window is filling"),
        );
      }
      text(
        facts,
        `missing ${(one.missing * 100).toFixed(1)} % · ${one.kind === "number" ? "out of range" : "unseen"} ${(one.outside * 100).toFixed(1)} %${one.drifted.length ? ` · drifted: ${one.drifted.join(", ")}` : ""}`,
      );
    },
  };
}
