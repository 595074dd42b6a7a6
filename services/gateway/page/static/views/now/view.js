// Now: the flow, its figures and charts, the models, the processes, Kafka, dead letters.

import { state } from "../../core/api.js";
import { command, h, panel, replace } from "../../core/dom.js";
import { makeCharts, makeTiles } from "./figures.js";
import { mountKafka } from "./kafka.js";
import { mountLetters } from "./letters.js";
import { makeModels, showRoles } from "./models.js";
import { River } from "./river.js";

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
          "Every few seconds the trainer publishes a new version of the weights; the rollout brings it to " +
            "every worker.",
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
