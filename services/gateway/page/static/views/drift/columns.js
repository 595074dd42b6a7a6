// Each column beside its reference; error, volume and latency.

import { get, post } from "../../core/api.js";
import { Bars } from "../../core/charts.js";
import { h, panel, replace, Rows, text } from "../../core/dom.js";
import { count, number, seconds } from "../../core/format.js";
import { action, confirm } from "../../core/notify.js";
import { asked } from "../role.js";

const STATE = { drifted: "bad", unsteady: "warn", steady: "good", learning: "hi" };

export function mountColumns(holder, page) {
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
