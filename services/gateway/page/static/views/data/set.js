// One version of a set: its facts, its rows, splitting and deleting it.

import { get, post, send } from "../../core/api.js";
import { dialog, field, h, pairs, panel, replace, table } from "../../core/dom.js";
import { bytes, count, json, many, moment } from "../../core/format.js";
import { action, confirm, failed, toast } from "../../core/notify.js";
import { showProfile } from "./profile.js";

export function source(from) {
  if (!from || typeof from === "string") return from || "–";
  return (
    Object.entries(from)
      .filter(([, value]) => value && typeof value !== "object")
      .map(([name, value]) => `${name} ${String(value).slice(0, 60)}`)
      .join(", ") || json(from).slice(0, 80)
  );
}

export async function openSet(detail, name, version) {
  const path = `/v1/datasets/${encodeURIComponent(name)}`;
  try {
    const [all, manifest] = await Promise.all([get(path), get(`${path}/versions/${version}`)]);
    const made = panel(`${name}@${manifest.version}`, `${many(manifest.rows, "row")}, ${bytes(manifest.size)}`);
    const versions = h(
      "select",
      { ariaLabel: "Version", style: { width: "auto" } },
      all.versions.map((one) =>
        h("option", { value: one.version, selected: one.version === manifest.version }, `version ${one.version}`),
      ),
    );
    versions.addEventListener("change", () => openSet(detail, name, versions.value));
    const remove = action(
      "Delete …",
      async () => {
        if (
          await confirm(
            `Delete ${name}@${manifest.version}?`,
            [h("p", "Its files are deleted. A set that a served version learned from is kept.")],
            "Delete it",
            true,
          )
        ) {
          await send("DELETE", `${path}/versions/${manifest.version}`);
          replace(detail);
          toast(`${name}@${manifest.version} is deleted`);
        }
      },
      "button.small.danger",
    );
    const cut = action("Split …", () => split(name, manifest), "button.small");
    made.tools.append(
      versions,
      ...["parquet", "csv", "jsonl"].map((form) =>
        h("a.button.small", { href: `${path}/versions/${manifest.version}/export?format=${form}`, download: "" }, form),
      ),
      cut,
      remove,
    );
    made.body.append(
      pairs([
        ["From", source(manifest.source)],
        ["Holds", manifest.holds || "rows"],
        ["Key", manifest.key],
        ["Time", manifest.time],
        ["Made", moment(manifest.created_us / 1000)],
        ["Metadata", Object.keys(manifest.metadata ?? {}).length ? json(manifest.metadata) : ""],
        ["Parents", (manifest.parents ?? []).map((one) => (typeof one === "string" ? one : json(one))).join(", ")],
        ["Digest", h("code", manifest.digest)],
      ]),
    );
    const profile = panel("Profile", "distributions of each column"),
      rows = panel("Rows", "the first 25");
    replace(detail, made.node, profile.node, rows.node);
    made.node.scrollIntoView({ behavior: "smooth", block: "start" });
    showProfile(profile, path, manifest, all.versions);
    showRows(rows, `${path}/versions/${manifest.version}/rows?offset=0&limit=25`, manifest.columns);
  } catch (error) {
    failed(error);
  }
}

const NUMBERS = /^(u?int|double|float|decimal)/i;

async function showRows(made, path, columns) {
  made.body.classList.add("flush");
  try {
    const said = await get(path);
    const names = columns.map((one) => one.name);
    const cell = (value) =>
      value === null || value === undefined
        ? h("td.muted", "–")
        : h(
            "td",
            { class: typeof value === "number" ? "num" : "cut", title: typeof value === "object" ? json(value) : "" },
            typeof value === "object" ? json(value).slice(0, 120) : String(value),
          );
    const list = table(
      columns.map((one) => ({ name: one.name, num: NUMBERS.test(one.type) })),
      { label: "Rows", tight: true },
    );
    list.body.append(
      ...said.rows.map((row) =>
        h(
          "tr",
          names.map((name) => cell(row[name])),
        ),
      ),
    );
    replace(made.body, list.node);
    made.note(`the first ${count(said.rows.length)} of ${count(said.total)}`);
  } catch (error) {
    replace(made.body, h("div.notice.bad", h("div.text", error.message)));
  }
}

function split(name, manifest) {
  const by = h(
    "select",
    h("option", { value: "time" }, "time: the test part is later"),
    h("option", { value: "key" }, "key: a key is in one part only"),
  );
  const column = h(
    "select",
    h("option", { value: "" }, "the set's own"),
    manifest.columns.map((one) => h("option", { value: one.name }, one.name)),
  );
  const share = h("input", { type: "number", min: 0.01, max: 0.99, step: 0.01, value: 0.2 });
  const problem = h("div", { role: "alert" });
  const go = action(
    "Split",
    async () => {
      const body = { by: by.value, shares: { train: Number((1 - share.value).toFixed(4)), test: Number(share.value) } };
      if (column.value) body.column = column.value;
      try {
        await post(`/v1/datasets/${encodeURIComponent(name)}/versions/${manifest.version}/split`, body);
        toast("The split has begun");
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    `Split ${name}@${manifest.version}`,
    [
      h("p", `Makes ${name}-train and ${name}-test, with this version as their parent.`),
      h("div.form", field("By", by).node, field("Column", column).node, field("Test share", share).node),
      problem,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}
