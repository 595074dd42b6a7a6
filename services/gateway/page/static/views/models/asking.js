// What an operator is asked before a version is changed, and what came of it.

import { dialog, field, h } from "../../core/dom.js";
import { many, moment, number, seconds } from "../../core/format.js";
import { action, failed, toast } from "../../core/notify.js";

export function outcome(done, told) {
  const left = done.workers.filter((one) => one.version !== done.version && !done.canaries.length);
  if (done.done && done.canaries.length) toast(`${told}: ${done.canaries.join(", ")} on version ${done.version}`);
  else if (done.done)
    toast(
      `${told}: ${many(done.workers.length, "worker")} on version ${done.version}${done.pinned ? ", pinned" : ""}, ${seconds(done.took_ms / 1000)}`,
    );
  else
    failed(
      new Error(
        `Told, but not every worker follows yet: ${left.map((one) => `${one.worker} serves ${one.version} ${one.error}`).join("; ")}`,
      ),
    );
}

export function chooseVersion(versions, view, carryOut, wanted) {
  const able = versions.filter(
    (one) => !["refused", "published", "staging"].includes(one.state.split(" ")[0]) && one.version !== view.active,
  );
  const select = h(
    "select",
    h("option", { value: 0 }, `the one before the active one${view.previous ? ` (${view.previous})` : ""}`),
    able.map((one) =>
      h(
        "option",
        { value: one.version, selected: one.version === wanted },
        `${one.version} · ${one.state} · ${moment(one.published_us / 1000)}${one.metrics.error !== undefined ? ` · error ${number(one.metrics.error)}` : ""}`,
      ),
    ),
  );
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever asks later" });
  const go = action(
    "Roll back",
    async () => {
      made.close();
      await carryOut({ version: Number(select.value), reason: reason.value || "rolled back on the page" });
    },
    "button.danger",
  );
  const made = dialog(
    "Roll back",
    [
      h(
        "p",
        `Every worker serves the version that you choose, and stays there until you resume. Version ${view.active} serves now.`,
      ),
      field("Version", select).node,
      field("Reason", reason).node,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

export function deployVersion(versions, view, carryOut, wanted) {
  const able = versions.filter((one) => one.version !== view.active && !["refused", "skipped"].includes(one.state));
  const select = h(
    "select",
    able.map((one) =>
      h(
        "option",
        { value: one.version, selected: one.version === wanted },
        `${one.version} · ${one.state} · ${moment(one.published_us / 1000)}`,
      ),
    ),
  );
  const share = h("input", {
    type: "range",
    min: 0,
    max: 90,
    step: 5,
    value: 0,
    ariaLabel: "Share of the workers, in percent",
  });
  const said = h("output", "all workers");
  share.addEventListener("input", () => {
    said.textContent = Number(share.value) ? `${share.value} % of the workers first` : "all workers";
  });
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever asks later" });
  const go = action(
    "Deploy",
    async () => {
      made.close();
      await carryOut({
        version: Number(select.value),
        canary_share: Number(share.value) / 100,
        reason: reason.value || "deployed on the page",
      });
    },
    "button.main",
  );
  go.disabled = !able.length;
  const made = dialog(
    "Deploy a version",
    [
      h(
        "p",
        "A version that is held or newer is served: on a share of the workers first, as canaries, until it " +
          "is deployed without a share, or everywhere at once.",
      ),
      field("Version", select).node,
      h("div.field", h("span.name", "Canaries"), h("div.buttons", share, said)),
      field("Reason", reason).node,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}
