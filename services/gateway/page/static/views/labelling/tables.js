// Queues, import, and how often people agree.

import { get, Refused } from "../../core/api.js";
import { empty, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { count, number, seconds } from "../../core/format.js";
import { failed, toast } from "../../core/notify.js";

export function makeQueues() {
  const made = panel("Queues", "what is to be labelled");
  made.body.classList.add("flush");
  made.tools.append(
    h("a.button.small", { href: "/v1/labelling/export", download: "labels.json" }, "Export"),
    importButton(),
  );
  const list = table(
    [
      { name: "Queue" },
      { name: "What" },
      { name: "Open", num: true },
      { name: "Leased", num: true },
      { name: "Review", num: true },
      { name: "Held", num: true },
      { name: "Published", num: true },
      { name: "Skipped", num: true },
      { name: "" },
    ],
    { label: "Queues", tight: true },
  );
  const nothing = empty(
    "No queue",
    "Queues stand under labelling: in pipeline.yaml: all events, a sample, the least certain, where " +
      "champion and shadow disagree, drifted slices, dead letters.",
  );
  made.body.append(list.node, nothing);
  let open = () => {};
  const rows = new Rows(list.body, (queue) => {
    const cells = ["td.mono", "td.wide.small", "td.num", "td.num", "td.num", "td.num", "td.num", "td.num"].map((one) =>
      h(one),
    );
    return {
      node: h(
        "tr.open",
        { onclick: () => open(queue.name) },
        cells,
        h(
          "td.num",
          h(
            "button.small.quiet",
            {
              type: "button",
              ariaLabel: `Label ${queue.name}`,
              onclick: (event) => {
                event.stopPropagation();
                open(queue.name);
              },
            },
            "Label",
          ),
        ),
      ),
      update: (one) =>
        [
          one.name,
          one.what,
          count(one.open),
          count(one.leased),
          count(one.review),
          count(one.held),
          count(one.published),
          count(one.skipped),
        ].forEach((value, i) => text(cells[i], value)),
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

function importButton() {
  const input = h("input", { type: "file", accept: ".json", hidden: true, ariaLabel: "Label Studio's JSON" });
  input.addEventListener("change", async () => {
    const file = input.files[0];
    input.value = "";
    if (!file) return;
    try {
      const answer = await fetch("/v1/labelling/import", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: file,
      });
      const said = await answer.json();
      if (!answer.ok) throw new Refused(said.error, answer.status);
      toast(
        `${count(said.labels)} labels of ${count(said.tasks)} tasks taken, ${count(said.refused.length)} refused${said.refused[0] ? `: ${said.refused[0].reason}` : ""}`,
        said.refused.length ? "bad" : "",
      );
    } catch (error) {
      failed(error);
    }
  });
  return h("span", input, h("button.small", { type: "button", onclick: () => input.click() }, "Import"));
}

export function makeAgreement() {
  const made = panel("Agreement", "where two people labelled the same item");
  made.node.hidden = true;
  let queue = "",
    seen = "";
  async function load() {
    try {
      const { agreement, labellers } = await get(`/v1/labelling/queues/${encodeURIComponent(queue)}`);
      made.node.hidden = !labellers.length;
      made.note(
        agreement.items
          ? `${count(agreement.items)} items were labelled by two people`
          : "no item was labelled by two people yet",
      );
      replace(
        made.body,
        h(
          "div.grid",
          h(
            "div.w5.scroll",
            { tabIndex: 0, role: "group", ariaLabel: "Labellers" },
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  ["Labeller", "Labels", "Reviews", "Skips", "Median time"].map((name, i) =>
                    h("th", { scope: "col", class: i ? "num" : "" }, name),
                  ),
                ),
              ),
              h(
                "tbody",
                labellers.map((one) =>
                  h(
                    "tr",
                    h("td", one.labeller),
                    h("td.num", count(one.labels)),
                    h("td.num", count(one.reviews)),
                    h("td.num", count(one.skips)),
                    h("td.num", seconds(one.seconds)),
                  ),
                ),
              ),
            ),
          ),
          h(
            "div.w7",
            !agreement.items
              ? h(
                  "p.muted",
                  "Where a share of the items is reviewed (labelling: review in pipeline.yaml), this shows " +
                    "how often two people agree.",
                )
              : agreement.fields.map((one) =>
                  h(
                    "div",
                    { style: { marginBottom: "8px" } },
                    h(
                      "div.buttons",
                      h("strong", one.field),
                      h("span.grow"),
                      one.percent === null || one.percent === undefined ? "" : `${number(one.percent)} % agree`,
                      one.kappa !== null && one.kappa !== undefined ? h("span.muted", ` κ ${number(one.kappa)}`) : null,
                      one.mean_absolute_difference !== null && one.mean_absolute_difference !== undefined
                        ? h("span.muted", ` mean difference ${number(one.mean_absolute_difference)}`)
                        : null,
                    ),
                    h("span.bar", h("i", { style: { width: `${one.percent ?? 0}%` } })),
                  ),
                ),
          ),
        ),
      );
    } catch (error) {
      made.node.hidden = true;
    }
  }
  return {
    node: made.node,
    open(name) {
      queue = name;
      seen = "";
      load();
    },
    changed(said) {
      const now = said.queues.find((one) => one.name === queue);
      const key = now ? `${now.labels} ${now.published}` : "";
      if (queue && key !== seen) {
        seen = key;
        load();
      }
    },
  };
}
