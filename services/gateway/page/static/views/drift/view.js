// Drift and alerts: what is wrong now, what people silenced, and each column beside its reference.

import { h, panel, replace } from "../../core/dom.js";
import { moment } from "../../core/format.js";
import { personInput } from "../../core/person.js";
import { mountAlerts, SEVERITY } from "./alerts.js";
import { mountColumns } from "./columns.js";

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Drift and alerts"),
        h("p", "Whether what comes in still looks like what the model learned from, and what is wrong now."),
      ),
      h("span.grow"),
      personInput(),
    ),
  );
  const monitor = mountMonitor(root, page);
  const holder = h("div.stack");
  root.append(holder);
  mountAlerts(holder, page, monitor);
  mountColumns(holder, page);
}

// Without the role drift there are still the monitor's own alerts, in its snapshot.
function mountMonitor(root, page) {
  const made = panel("Alerts of the monitor", "as its snapshot has them");
  const body = h("div");
  made.body.append(body);
  root.append(made.node);
  page.follow("flow", (said) => {
    const firing = said.snapshot?.alerts ?? [];
    const now = JSON.stringify(firing);
    if (body.dataset.said === now) return;
    body.dataset.said = now;
    replace(
      body,
      firing.length
        ? firing.map((one) =>
            h(
              `div.notice.${SEVERITY[one.severity?.toUpperCase()] ?? "warn"}`,
              h(
                "div.text",
                h("strong", one.name),
                ` ${one.message}`,
                h("div.muted.small", `${one.model || "the pipeline"}, since ${moment(one.since_us / 1000)}`),
              ),
            ),
          )
        : h("p.muted", "Nothing is wrong."),
    );
  });
  return made.node;
}
