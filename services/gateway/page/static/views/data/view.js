// Data: sets and their versions, imports as they go, profiles drawn, uploads that go on after a lost connection.

import { get, post, send } from "../../core/api.js";
import { dialog, empty, field, h, pairs, panel, replace, Rows, table, text } from "../../core/dom.js";
import { bytes, count, json, many, moment } from "../../core/format.js";
import { action, confirm, failed, toast } from "../../core/notify.js";
import { asked, badge } from "../role.js";
import { makeImport } from "./import.js";
import { showProfile } from "./profile.js";

const OVER = ["done", "failed", "cancelled"];

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Data"),
        h(
          "p",
          "Bounded sets with versions that never change: from files, from a range of a topic, or from a query. Training, tuning and batch jobs take them as name@version.",
        ),
      ),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const add = makeImport();
  const sets = makeSets(),
    imports = makeImports();
  const detail = h("div.stack");
  holder.append(add.node, imports.node, sets.node, detail);
  sets.onOpen((name, version) => openSet(detail, name, version));
  asked(page, "datasets", "The role datasets", holder, (said) => sets.show(said.datasets));
  page.follow("imports", (said) => {
    if (said.running) imports.show(said.answer.imports);
  });
}

function makeSets() {
  const made = panel("Sets", "figures of the newest version");
  made.body.classList.add("flush");
  const list = table(
    [
      { name: "Set" },
      { name: "Newest", num: true },
      { name: "Versions", num: true },
      { name: "Rows", num: true },
      { name: "Size", num: true },
      { name: "Holds" },
      { name: "From" },
      { name: "Made" },
      { name: "" },
    ],
    { label: "Sets", tight: true },
  );
  const nothing = empty(
    "No set yet",
    "Drop a file above, or make a set of a range of a topic: events with their labels, as they were.",
  );
  made.body.append(list.node, nothing);
  let open = () => {};
  const rows = new Rows(list.body, (set) => {
    let latest = set;
    const cells = ["td.mono", "td.num", "td.num", "td.num", "td.num", "td", "td.cut", "td.keep"].map((one) => h(one));
    const see = h(
      "button.small.quiet",
      {
        type: "button",
        ariaLabel: `Open ${set.name}`,
        onclick: (event) => {
          event.stopPropagation();
          open(latest.name, latest.newest);
        },
      },
      "Open",
    );
    return {
      node: h("tr.open", { onclick: () => open(latest.name, latest.newest) }, cells, h("td.num", see)),
      update(one) {
        latest = one;
        [
          one.name,
          one.newest,
          one.versions.length,
          count(one.rows),
          bytes(one.size),
          one.holds || "rows",
          source(one.source),
          moment(one.created_us / 1000),
        ].forEach((value, i) => text(cells[i], value));
      },
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

export function source(from) {
  if (!from || typeof from === "string") return from || "–";
  return (
    Object.entries(from)
      .filter(([, value]) => value && typeof value !== "object")
      .map(([name, value]) => `${name} ${String(value).slice(0, 60)}`)
      .join(", ") || json(from).slice(0, 80)
  );
}

function makeImports() {
  const made = panel("Imports", "what is being made into a set");
  made.body.classList.add("flush");
  made.node.hidden = true;
  const list = table(
    [
      { name: "Set" },
      { name: "State" },
      { name: "Phase" },
      { name: "How far" },
      { name: "Rows", num: true },
      { name: "Bad rows", num: true },
      { name: "" },
    ],
    { label: "Imports", tight: true },
  );
  made.body.append(list.node);
  const rows = new Rows(list.body, (one) => {
    let latest = one;
    const cells = ["td.mono", "td", "td", "td", "td.num", "td.num"].map((each) => h(each));
    const bar = h("i");
    cells[3].append(h("span.bar.epochs", bar));
    const why = h("button.small.quiet", { type: "button", onclick: () => badRows(latest) }, "Why");
    const cancel = action("Cancel", () => post(`/v1/imports/${latest.id}/cancel`), "button.small.quiet");
    const remove = action("Remove", () => send("DELETE", `/v1/imports/${latest.id}`), "button.small.quiet");
    return {
      node: h("tr", cells, h("td.num", why, cancel, remove)),
      update(now) {
        latest = now;
        text(cells[0], now.dataset || now.name);
        if (cells[1].textContent !== now.state) replace(cells[1], badge(now.state));
        cells[1].title = now.error ?? "";
        text(cells[2], now.state === "failed" ? (now.error ?? "").slice(0, 90) : now.phase || "–");
        const done = now.rows?.done ?? 0;
        bar.style.width = `${now.state === "done" ? 100 : now.total ? Math.min(100, (100 * (now.read ?? done)) / now.total) : 0}%`;
        text(cells[4], count(done));
        text(cells[5], count(now.rows?.bad ?? 0));
        cells[5].classList.toggle("bad", (now.rows?.bad ?? 0) > 0);
        why.hidden = !(now.bad_rows?.length || now.error);
        cancel.hidden = OVER.includes(now.state);
        remove.hidden = !OVER.includes(now.state);
      },
    };
  });
  return {
    node: made.node,
    show(some) {
      made.node.hidden = !some.length;
      rows.show(some.slice(0, 8), (one) => one.id);
    },
  };
}

function badRows(one) {
  dialog(
    `Rows of ${one.name} that were not taken`,
    [
      one.error ? h("div.notice.bad", h("div.text", one.error)) : null,
      one.bad_rows?.length
        ? h(
            "div.scroll",
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  ["Where", "Field", "What is wrong"].map((name) => h("th", { scope: "col" }, name)),
                ),
              ),
              h(
                "tbody",
                one.bad_rows.map((row) =>
                  h(
                    "tr",
                    h("td.mono", typeof row.place === "object" ? json(row.place) : row.place),
                    h("td.mono", row.field || "–"),
                    h("td.wide", row.problem),
                  ),
                ),
              ),
            ),
          )
        : null,
      one.rows?.bad
        ? h("p", h("a", { href: `/v1/imports/${one.id}/rejected` }, `All ${count(one.rows.bad)} as JSON lines`))
        : null,
    ],
    [],
    true,
  );
}

async function openSet(detail, name, version) {
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
      rows = panel("Rows", "the first 50");
    replace(detail, made.node, profile.node, rows.node);
    made.node.scrollIntoView({ behavior: "smooth", block: "start" });
    showProfile(profile, path, manifest, all.versions);
    showRows(rows, `${path}/versions/${manifest.version}/rows?offset=0&limit=50`, manifest.columns);
  } catch (error) {
    failed(error);
  }
}

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
      names.map((name) => ({ name })),
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
