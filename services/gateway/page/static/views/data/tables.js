// Sets, and imports as they go.

import { post, send } from "../../core/api.js";
import { dialog, empty, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { bytes, count, json, moment } from "../../core/format.js";
import { action } from "../../core/notify.js";
import { source } from "./set.js";
import { badge } from "../role.js";

const OVER = ["done", "failed", "cancelled"];

export function makeSets() {
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

export function makeImports() {
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
