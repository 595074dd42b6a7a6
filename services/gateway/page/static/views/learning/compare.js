// Jobs compared: their curves, and the settings that differ.

import { Lines } from "../../core/charts.js";
import { h, panel, replace } from "../../core/dom.js";
import { json, number } from "../../core/format.js";

const COLOURS = ["accent", "blue", "violet", "amber", "red", "green"];

export function makeCompare() {
  const made = panel("Compared", "validation error after each epoch");
  const body = h("div");
  made.body.append(body);
  made.node.hidden = true;
  let chart = null,
    said = "";
  return {
    node: made.node,
    show(jobs) {
      const some = jobs.filter((one) => one.curve?.length).slice(0, COLOURS.length);
      made.node.hidden = !some.length;
      const now = JSON.stringify(some.map((one) => [one.id, one.curve.length, one.state]));
      if (!some.length || now === said) return;
      said = now;
      const unit = some.find((one) => one.report)?.report.unit ?? "";
      // A small set may have no validation part: then the loss on the training part is all there is to draw.
      const validated = some.some((one) => one.curve.some((each) => each.validation !== null));
      const what = validated ? "validation" : "loss";
      chart = new Lines({
        height: 240,
        time: false,
        zero: false,
        xname: "epoch ",
        label: `${what} after each epoch`,
        series: some.map((one, i) => ({ name: one.id.slice(0, 6), colour: COLOURS[i], width: 2 })),
      });
      const most = Math.max(...some.map((one) => one.curve.length));
      // What was asked for differs at least; a finished job says all of its settings.
      const settings = some.map((one) => flat(some.every((each) => each.report) ? one.report.settings : one.settings));
      const names = [...new Set(settings.flatMap(Object.keys))].sort();
      const differ = names.filter((name) => new Set(settings.map((one) => json(one[name]))).size > 1);
      const line = (name, values) =>
        h(
          "tr",
          h("th", { scope: "row" }, name),
          values.map((value) => h("td.num", value ?? "–")),
        );
      const best = (one) => {
        const some_ = one.curve.map((each) => each.validation).filter((each) => each !== null);
        return some_.length ? Math.min(...some_) : null;
      };
      replace(
        body,
        h(
          "div.grid",
          h("div.w7", chart.node),
          h(
            "div.w5.scroll",
            { tabIndex: 0, role: "group", ariaLabel: "Compared" },
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  h("th", { scope: "col" }, "Job"),
                  some.map((one) => h("th.num", { scope: "col" }, one.id.slice(0, 6))),
                ),
              ),
              h(
                "tbody",
                line(
                  "data",
                  some.map((one) => one.data),
                ),
                line(
                  "best validation",
                  some.map((one) => number(best(one))),
                ),
                line(
                  "test",
                  some.map((one) => number(one.report?.parts?.test?.error)),
                ),
                line(
                  "loss at the end",
                  some.map((one) => number(one.curve[one.curve.length - 1].loss)),
                ),
                line(
                  "seconds an epoch",
                  some.map((one) => number(one.curve.reduce((sum, each) => sum + each.seconds, 0) / one.curve.length)),
                ),
                differ.map((name) =>
                  line(
                    name,
                    settings.map((one) => (one[name] === undefined ? "the pipeline's" : json(one[name]))),
                  ),
                ),
              ),
            ),
          ),
        ),
      );
      replace(made.tools, chart.legend());
      made.note(
        validated
          ? `validation error${unit ? `, ${unit}` : ""}, after each epoch`
          : "loss on the training part after each epoch; there is no validation part",
      );
      chart.show(
        Array.from({ length: most }, (_, i) => [
          i + 1,
          ...some.map((one) => one.curve.find((each) => each.epoch === i + 1)?.[what] ?? null),
        ]),
      );
    },
  };
}

export function flat(values, prefix = "") {
  return Object.assign(
    {},
    ...Object.entries(values ?? {}).map(([name, value]) =>
      value !== null && typeof value === "object" && !Array.isArray(value)
        ? flat(value, `${prefix}${name}.`)
        : { [`${prefix}${name}`]: value },
    ),
  );
}
