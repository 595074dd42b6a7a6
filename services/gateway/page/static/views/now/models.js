// Models and baselines; processes.

import { state } from "../../core/api.js";
import { empty, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { count, number } from "../../core/format.js";

export function makeModels() {
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

export function showRoles(body, roles) {
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
