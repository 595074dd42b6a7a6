// Alerts, silences and definitions.

import { get, post, send } from "../../core/api.js";
import { dialog, empty, field, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { moment, number } from "../../core/format.js";
import { action, toast } from "../../core/notify.js";
import { named } from "../../core/person.js";
import { asked } from "../role.js";

export const SEVERITY = { CRITICAL: "bad", WARNING: "warn", INFO: "hi" };

export function mountAlerts(holder, page, monitor) {
  const made = panel("Alerts", "on now first");
  made.body.classList.add("flush");
  holder.append(made.node);
  const list = table(
    [
      { name: "" },
      { name: "Alert" },
      { name: "About" },
      { name: "Message" },
      { name: "Value", num: true },
      { name: "From", num: true },
      { name: "Since" },
      { name: "" },
    ],
    { label: "Alerts", tight: true },
  );
  const nothing = empty(
    "No alert was ever raised",
    "Alerts come from the monitor (errors, failing versions) and from the role drift (inputs, predictions, " +
      "volume, latency).",
  );
  made.body.append(list.node, nothing);
  made.tools.append(
    action("Silence a pattern …", () => silence("", "a pattern"), "button.small"),
    action("What is watched", definitions, "button.small"),
  );
  const rows = new Rows(list.body, (alert) => {
    let latest = alert;
    const cells = ["td", "td.keep", "td.keep", "td.wide", "td.num", "td.num", "td.keep"].map((one) => h(one));
    const quiet = action(
      "Silence …",
      () => silence(latest.id, `${latest.name} of ${latest.subject || latest.model}`),
      "button.small.quiet",
    );
    return {
      node: h("tr", cells, h("td.num", quiet)),
      update(one) {
        latest = one;
        const state = one.silenced ? "silenced" : one.firing ? one.severity.toLowerCase() : "over";
        if (cells[0].textContent !== state)
          replace(
            cells[0],
            h("span.badge", { class: one.silenced || !one.firing ? "plain" : (SEVERITY[one.severity] ?? "") }, state),
          );
        text(cells[1], one.name);
        text(
          cells[2],
          [one.subject, one.version ? `version ${one.version}` : ""].filter(Boolean).join(", ") || one.model,
        );
        text(cells[3], one.message);
        text(cells[4], number(one.value));
        text(cells[5], number(one.threshold));
        text(cells[6], moment((one.since_us || one.at_us) / 1000));
        quiet.hidden = one.silenced || !one.firing;
      },
    };
  });
  asked(page, "alerts", "The role drift", made.node, (said) => {
    monitor.hidden = true;
    nothing.hidden = said.alerts.length > 0;
    list.node.hidden = !said.alerts.length;
    const on = said.alerts.filter((one) => one.firing && !one.silenced).length;
    made.note(on ? `${on} on now` : "nothing is wrong now");
    rows.show(
      [...said.alerts]
        .sort((a, b) => b.firing - a.firing || a.silenced - b.silenced || b.at_us - a.at_us)
        .slice(0, 100),
      (one) => one.id,
    );
  });
  mountSilences(holder, page);
}

function mountSilences(holder, page) {
  const made = panel("Silences", "alerts that nobody is told of meanwhile");
  made.node.hidden = true;
  holder.append(made.node);
  page.follow("silences", (said) => {
    const some = said.running ? said.answer.silences : [];
    made.node.hidden = !some.length;
    const now = JSON.stringify(some);
    if (made.body.dataset.said === now) return;
    made.body.dataset.said = now;
    replace(
      made.body,
      some.map((one) =>
        h(
          "div.buttons",
          { style: { marginBottom: "6px" } },
          h("code", one.match),
          h(
            "span.muted.small",
            `by ${one.by || "somebody"}${one.reason ? `: ${one.reason}` : ""}, until ${moment((one.until_us ?? 0) / 1000)}`,
          ),
          h("span.grow"),
          action(
            "End it",
            () => send("DELETE", `/v1/silences/${encodeURIComponent(one.id ?? one.match)}`),
            "button.small.quiet",
          ),
        ),
      ),
    );
  });
}

function silence(id, what) {
  const match = h("input", { type: "text", value: id, placeholder: "rides/feature_drift/*" });
  const hours = h(
    "select",
    [
      ["900", "15 minutes"],
      ["3600", "1 hour"],
      ["14400", "4 hours"],
      ["86400", "1 day"],
      ["604800", "1 week"],
    ].map(([value, name]) => h("option", { value, selected: value === "3600" }, name)),
  );
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever wonders" });
  const problem = h("div", { role: "alert" });
  const go = action(
    "Silence",
    async () => {
      const body = { for_s: Number(hours.value), reason: reason.value, by: named() };
      try {
        if (match.value === id && id) await post(`/v1/alerts/${encodeURIComponent(id)}/silence`, body);
        else await post("/v1/silences", { match: match.value, ...body });
        toast("Silenced");
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    `Silence ${what}`,
    [
      h("p", "The alert is still raised and shown; nobody is told of it meanwhile."),
      field("Alert, or a pattern with *", match).node,
      h("div.form", field("For", hours).node, field("Reason", reason).node),
      problem,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

async function definitions() {
  const { rules } = await get("/v1/alerts/rules");
  dialog(
    "What is watched",
    [
      h(
        "p.muted",
        "The same definitions for Prometheus: ",
        h("a", { href: "/v1/alerts/prometheus" }, "rules"),
        ", and for Grafana: ",
        h("a", { href: "/v1/alerts/grafana" }, "dashboard"),
        ".",
      ),
      h(
        "div.scroll",
        h(
          "table.tight",
          h(
            "thead",
            h(
              "tr",
              ["Alert", "Severity", "Meaning", "To do"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            rules.map((one) =>
              h(
                "tr",
                h("td.keep", one.name),
                h("td", h("span.badge", { class: SEVERITY[one.severity] ?? "" }, one.severity.toLowerCase())),
                h("td.wide", one.meaning || one.summary),
                h("td.wide", one.to_do),
              ),
            ),
          ),
        ),
      ),
    ],
    [],
    true,
  );
}
