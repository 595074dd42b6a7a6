// Now: the flow, its figures and charts, the models, the processes, Kafka, dead letters.

import { state } from "../../core/api.js";
import { Lines, Spark } from "../../core/charts.js";
import { command, empty, h, panel, replace, Rows, table, text, toggle } from "../../core/dom.js";
import { count, number, rate, seconds } from "../../core/format.js";
import { mountKafka } from "./kafka.js";
import { mountLetters } from "./letters.js";
import { River } from "./river.js";

const SHOWN_MS = 10 * 60 * 1000;

export function mount(root, page) {
  const river = new River();
  page.onLeave(() => river.stop());
  const alerts = h("div", { hidden: true, role: "alert" });
  const absent = h("div", { hidden: true });
  const tiles = makeTiles();
  const charts = makeCharts();
  const models = makeModels();
  const roles = panel("Processes");
  const flowPanel = panel("The flow", "every number is at most a second old");
  flowPanel.body.append(river.node);
  root.append(
    h("div.head", h("div", h("h1", "Now"), h("p", state.description || `Pipeline ${state.pipeline}`))),
    welcome(),
    alerts,
    absent,
    flowPanel.node,
    tiles.node,
    h("div.grid", h("div.w7", charts.error.node), h("div.w5", charts.rates.node)),
    h("div.grid", h("div.w8", models.node), h("div.w4", roles.node)),
  );
  let known = { points: [], errors: [], roles: undefined, snapshot: null };
  page.follow("history", (said) => {
    known.points = said.points;
    known.errors = said.errors;
  });
  page.follow("roles", (said) => {
    if (said.roles) {
      known.roles = said.roles;
      showRoles(roles.body, said.roles);
    }
  });
  page.follow("flow", (said) => {
    showAbsent(absent, said);
    if (!said.snapshot) return;
    known.snapshot = said.snapshot;
    add(known, said.snapshot);
    river.show(known);
    tiles.show(known, said);
    charts.show(known, said);
    models.show(said.snapshot);
    showAlerts(alerts, said.snapshot.alerts ?? []);
  });
  mountKafka(root, page);
  mountLetters(root, page);
}

// The points of the last minutes go on with each snapshot, one a second.
function add(known, snapshot) {
  const last = known.points[known.points.length - 1];
  if (!last || snapshot.at_us - last[0] >= 900_000) {
    const { rates, latency = {}, counts, freshness = {} } = snapshot;
    known.points.push([
      snapshot.at_us,
      rates.events ?? 0,
      rates.predictions ?? 0,
      rates.labels ?? 0,
      counts.unpredicted ?? 0,
      latency.p50,
      latency.p99,
      freshness.p50,
    ]);
    if (known.points.length > 900) known.points.shift();
  }
  const newest = snapshot.history?.[0];
  const before = known.errors[known.errors.length - 1];
  if (newest && (!before || newest.at_us > before.at_us)) known.errors.push(newest);
}

function welcome() {
  const key = "headrace.welcomed";
  if (localStorage.getItem(key)) return null;
  const node = h(
    "section.notice.welcome",
    { ariaLabel: "Welcome" },
    h(
      "div.text",
      h("strong", "This is one pipeline at work."),
      h(
        "ol",
        h("li", "Events come in on Kafka; the stream predicts each of them, exactly once."),
        h("li", "Labels come later. An event with its label is an example, and the trainer learns from it at once."),
        h(
          "li",
          "Every few seconds the trainer publishes a new version of the weights; the rollout brings it to every worker.",
        ),
        h("li", "The monitor compares what was predicted with what came true, beside simple baselines."),
      ),
      h(
        "p.small",
        "Go on with ",
        h("a", { href: "#/models" }, "Models"),
        " to roll a version back, with ",
        h("a", { href: "#/predict" }, "Predict"),
        " to try an event, or press ",
        h("kbd", "?"),
        " for the keys.",
      ),
    ),
  );
  node.append(
    h(
      "button.small",
      {
        type: "button",
        onclick: () => {
          localStorage.setItem(key, "1");
          node.remove();
        },
      },
      "Got it",
    ),
  );
  return node;
}

function showAbsent(node, said) {
  const missing = said.running === false;
  if (node.hidden !== !missing) {
    node.hidden = !missing;
    replace(
      node,
      missing
        ? h(
            "div.notice.warn",
            h("div.text", "No monitor answers, so there are no figures. This starts one: ", command(said.start)),
          )
        : [],
    );
  }
}

function showAlerts(node, firing) {
  node.hidden = !firing.length;
  const name = JSON.stringify(firing.map((one) => [one.name, one.model, one.message]));
  if (node.dataset.said === name) return;
  node.dataset.said = name;
  replace(
    node,
    firing.map((one) =>
      h(
        `div.notice.${one.severity?.toLowerCase() === "critical" ? "bad" : "warn"}`,
        h("div.text", h("strong", one.name), ` ${one.message}`),
      ),
    ),
  );
}

function makeTiles() {
  const made = {};
  const tile = (id, label, name) => {
    const [value, unit, sub] = [h("span"), h("small"), h("div.sub")];
    const spark = name ? new Spark(label, name) : null;
    made[id] = { value, unit, sub, spark };
    return h("div.tile", { id: `tile-${id}` }, h("span.label", label), h("div.value", value, unit), sub, spark?.node);
  };
  const node = h(
    "div.tiles",
    tile("events", "Events", "blue"),
    tile("predictions", "Predictions", "accent"),
    tile("latency", "Latency, p50", "accent"),
    tile("freshness", "Freshness, p50", "violet"),
    tile("lag", "Waiting for a prediction", "amber"),
    tile("sink", "Exactly once"),
  );
  const put = (id, value, unit, sub, values) => {
    text(made[id].value, value);
    text(made[id].unit, unit);
    text(made[id].sub, sub);
    made[id].spark?.show(values);
  };
  return {
    node,
    show({ points, snapshot }) {
      const recent = points.slice(-180);
      const { rates, counts, latency = {}, freshness = {}, versions } = snapshot;
      put(
        "events",
        rate(rates.events),
        "/s",
        `${count(counts.events)} since the start`,
        recent.map((p) => p[1]),
      );
      put(
        "predictions",
        rate(rates.predictions),
        "/s",
        `${count(counts.predictions)} since the start`,
        recent.map((p) => p[2]),
      );
      const [ms, unit] = seconds(latency.p50).split(" ");
      put(
        "latency",
        ms,
        unit ?? "",
        `p99 ${seconds(latency.p99)}, from arrival to prediction`,
        recent.map((p) => p[5]),
      );
      const [fresh, freshUnit] = seconds(freshness.p50).split(" ");
      put(
        "freshness",
        fresh,
        freshUnit ?? "",
        "from a label to predictions that learned from it",
        recent.map((p) => p[7]),
      );
      put(
        "lag",
        count(counts.unpredicted),
        "",
        `events without a prediction · newest version ${versions.newest ?? 0}`,
        recent.map((p) => p[4]),
      );
      const wrong = (counts.duplicates ?? 0) + (counts.missing ?? 0);
      put(
        "sink",
        wrong ? count(wrong) : "yes",
        wrong ? "wrong" : "",
        `${count(counts.duplicates)} twice · ${count(counts.missing)} missing · ${count(counts.dead_letters)} dead letters`,
      );
      toggle(made.sink.value, "bad", wrong);
      toggle(made.sink.value, "good", !wrong);
    },
  };
}

function makeCharts() {
  const error = new Lines({
    height: 236,
    label: "Error over time",
    series: [
      { name: "the model", colour: "accent", width: 2, fill: true },
      { name: "best baseline", colour: "amber", dash: [5, 4] },
    ],
  });
  const rates = new Lines({
    height: 236,
    label: "Records a second",
    format: rate,
    series: [
      { name: "events", colour: "blue" },
      { name: "predictions", colour: "accent", width: 2 },
      { name: "labels", colour: "violet" },
    ],
  });
  const errorPanel = panel("Error, as labels come", "");
  const ratesPanel = panel("Records a second", "last 10 minutes");
  errorPanel.body.append(error.node);
  errorPanel.tools.append(error.legend());
  ratesPanel.body.append(rates.node);
  ratesPanel.tools.append(rates.legend());
  return {
    error: errorPanel,
    rates: ratesPanel,
    show({ points, errors, snapshot }, said) {
      error.show(errors.map((one) => [one.at_us / 1000, one.model, one.baseline]));
      const from = snapshot.at_us / 1000 - SHOWN_MS;
      rates.show(points.filter((p) => p[0] / 1000 >= from).map((p) => [p[0] / 1000, p[1], p[2], p[3]]));
      const unit = snapshot.error_unit ? `, ${snapshot.error_unit}` : "";
      errorPanel.note(
        `${snapshot.error_name}${unit} over the last ${count(snapshot.window)} labelled${said.best_baseline ? ` · beside ${said.best_baseline}` : ""}`,
      );
    },
  };
}

function makeModels() {
  const made = panel("Models and baselines", "");
  const list = table(
    [
      { name: "Predictor" },
      { name: "Role" },
      { name: "Version", num: true },
      { name: "Predictions", num: true },
      { name: "Error now", num: true },
      { name: "Whole run", num: true },
      { name: "Metrics" },
    ],
    { label: "Models and baselines", tight: true },
  );
  made.body.classList.add("flush");
  made.body.append(list.node);
  const rows = new Rows(list.body, () => {
    const cells = [
      h("td.keep"),
      h("td.keep"),
      h("td.num"),
      h("td.num"),
      h("td.num"),
      h("td.num"),
      h("td.keep.muted.small"),
    ];
    return {
      node: h("tr", cells),
      update: (item) =>
        item.cells.forEach((value, i) => {
          text(cells[i], value);
          if (i === 4) cells[i].className = `num ${item.kind}`;
        }),
    };
  });
  return {
    node: made.node,
    show(snapshot) {
      const unit = snapshot.error_unit ? ` ${snapshot.error_unit}` : "";
      made.note(`${snapshot.error_name}, over the same labelled predictions`);
      const best = Math.min(...Object.values(snapshot.baselines ?? {}).map((one) => one.window ?? Infinity));
      const metrics = (one) =>
        Object.entries(one?.window ?? {})
          .slice(0, 4)
          .map(([name, value]) => `${name} ${number(value)}`)
          .join(" · ");
      const line = (key, name, role, version, predictions, score, more, kind = "") => ({
        key,
        kind,
        cells: [
          name,
          role,
          version,
          predictions,
          score?.window === undefined || score?.window === null ? "–" : number(score.window) + unit,
          score?.mean === undefined || score?.mean === null ? "–" : number(score.mean) + unit,
          more,
        ],
      });
      const better = (score) =>
        score?.window === undefined || score?.window === null ? "" : score.window <= best ? "good" : "warn";
      const several = snapshot.models ?? [];
      const items = several.length
        ? several.map((one) =>
            line(
              one.model,
              one.model,
              one.share ? `${one.role}, ${number(one.share * 100)} % of keys` : one.role,
              (one.versions?.serving ?? []).join(", ") || one.versions?.active || "–",
              count(one.predictions),
              one.score,
              metrics(one.metrics),
              better(one.score),
            ),
          )
        : [
            line(
              "model",
              state.pipeline,
              "champion",
              (snapshot.versions.serving ?? []).join(", ") || "–",
              count(snapshot.counts.predictions),
              snapshot.model,
              metrics(snapshot.metrics?.model),
              better(snapshot.model),
            ),
          ];
      for (const [name, score] of Object.entries(snapshot.baselines ?? {}))
        items.push(line(`b:${name}`, name, "baseline", "–", "–", score, metrics(snapshot.metrics?.[name])));
      rows.show(items, (item) => item.key);
    },
  };
}

function showRoles(body, roles) {
  const said = JSON.stringify(roles.map((one) => [one.instance, one.ready, one.error]));
  if (body.dataset.said === said) return;
  body.dataset.said = said;
  const sorted = [...roles].sort((a, b) => a.ready - b.ready || a.instance.localeCompare(b.instance));
  const why = (one) =>
    one.error ??
    Object.entries(one.checks ?? {})
      .filter(([, check]) => !check.ok)
      .map(([name, check]) => `${name}: ${check.detail}`)
      .join("; ");
  replace(
    body,
    roles.length
      ? h(
          "div.roles",
          sorted.map((one) =>
            h(
              "span.badge",
              { title: why(one) || `ready, process ${one.pid}` },
              h(`span.dot.${one.ready ? "good" : "bad"}`),
              one.instance,
              one.ready ? "" : h("span.bad", ` ${why(one)}`),
            ),
          ),
        )
      : empty("No process is known", "The gateway reads the endpoint files of its run folder, and there are none."),
  );
}
