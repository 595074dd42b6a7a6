// Tiles and charts of the flow.

import { Lines, Spark } from "../../core/charts.js";
import { h, panel, text, toggle } from "../../core/dom.js";
import { count, rate, seconds } from "../../core/format.js";

const SHOWN_MS = 10 * 60 * 1000;

export function makeTiles() {
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

export function makeCharts() {
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
