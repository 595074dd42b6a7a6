// A set's profile, drawn: a card for each column, beside another version where one is chosen.

import { get } from "../../core/api.js";
import { Bars } from "../../core/charts.js";
import { h, replace } from "../../core/dom.js";
import { count, number } from "../../core/format.js";

export function showProfile(made, path, manifest, versions) {
  const others = versions.filter((one) => one.version !== manifest.version);
  const against = h(
    "select",
    { ariaLabel: "Compare with", style: { width: "auto" } },
    h("option", { value: "" }, "alone"),
    others.map((one) => h("option", { value: `${manifest.name}@${one.version}` }, `beside version ${one.version}`)),
  );
  if (others.length) made.tools.append(against);
  async function load() {
    made.note("is computed …");
    try {
      const query = against.value ? `?against=${encodeURIComponent(against.value)}` : "";
      const said = await get(`${path}/versions/${manifest.version}/profile${query}`);
      made.note(`${count(said.rows)} rows${said.against ? `, beside ${said.against} (amber)` : ""}`);
      const cards = said.columns.map((column) => card(column, said.rows));
      replace(
        made.body,
        h(
          "div.profiles",
          cards.map((one) => one.node),
        ),
      );
      cards.forEach((one) => one.draw());
    } catch (error) {
      made.note("");
      replace(made.body, h("div.notice.bad", h("div.text", error.message)));
    }
  }
  against.addEventListener("change", load);
  load();
}

function card(column, rows) {
  const bars = new Bars({
    height: 96,
    label: `Distribution of ${column.name}`,
    format: (value) => `${(value * 100).toFixed(1)} %`,
  });
  const items = shares(column, rows);
  const facts = [
    ["missing", column.missing ? `${((100 * column.missing) / Math.max(1, rows)).toFixed(1)} %` : "0"],
    ["distinct", column.distinct === undefined || column.distinct === null ? null : count(column.distinct)],
    ["mean", column.mean],
    ["std", column.std],
    ["min", column.min],
    ["max", column.max],
  ].filter(([, value]) => value !== null && value !== undefined);
  const drift = column.drift;
  return {
    draw: () => bars.show(items),
    node: h(
      "div.profile",
      h(
        "div.buttons",
        h("strong", column.name),
        h("span.muted.small", column.type),
        h("span.grow"),
        drift
          ? h(
              "span.badge",
              { class: (drift.psi ?? 0) > 0.25 ? "bad" : (drift.psi ?? 0) > 0.1 ? "warn" : "good" },
              `PSI ${number(drift.psi)}`,
            )
          : null,
      ),
      items.length ? bars.node : h("p.muted.small", "no distribution: every value is its own"),
      h(
        "div.small.muted",
        facts
          .map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : String(value).slice(0, 24)}`)
          .join(" · "),
      ),
      drift?.ks !== undefined && drift?.ks !== null ? h("div.small", `KS ${number(drift.ks)}`) : null,
    ),
  };
}

function shares(column, rows) {
  const all = Math.max(1, rows);
  const beside = column.against ?? {};
  if (column.histogram?.counts?.length) {
    const { edges, counts } = column.histogram;
    const sum = counts.reduce((a, b) => a + b, 0) || 1,
      other = beside.histogram?.counts,
      otherSum = other?.reduce((a, b) => a + b, 0) || 1;
    return counts.map((n, i) => ({
      name: number(edges[i]),
      title: `${number(edges[i])} to ${number(edges[i + 1])}`,
      value: n / sum,
      against: other?.length === counts.length ? other[i] / otherSum : undefined,
    }));
  }
  return (column.top ?? []).slice(0, 12).map((one) => ({
    name: String(one.value),
    value: one.count / all,
    against: beside.top?.find((each) => each.value === one.value)?.count / all || undefined,
  }));
}
