// Rules: what happens by itself, each run followed step by step; approving, cancelling, triggering.

import { post } from "../core/api.js";
import { dialog, empty, field, h, pairs, panel, replace, Rows, text } from "../core/dom.js";
import { json, many, moment, number, seconds } from "../core/format.js";
import { action, confirm, toast } from "../core/notify.js";
import { named, personInput } from "../core/person.js";
import { asked, badge } from "./role.js";

const KIND = { done: "good", failed: "bad", cancelled: "warn", running: "hi", approval: "warn" };

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Rules"),
        h(
          "p",
          "What a pipeline does by itself: when something happens, steps follow one another; a person is " +
            "asked where a rule says so.",
        ),
      ),
      h("span.grow"),
      personInput(),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const rules = panel("Rules", "as pipeline.yaml has them");
  const runs = panel("Runs", "the newest first");
  rules.body.classList.add("flush");
  runs.body.classList.add("flush");
  holder.append(rules.node, runs.node);
  const noRules = empty(
    "No rule yet",
    "Rules stand under rules: in pipeline.yaml. A rule says when (a drift alert, a new data set, an hour " +
      "of the day, a call), which steps follow, and who is asked.",
  );
  const noRuns = empty("No run yet", "A run begins when a rule's condition holds, or when you trigger it.");
  const ruleList = h("div"),
    runList = h("div");
  rules.body.append(ruleList, noRules);
  runs.body.append(runList, noRuns);
  const ruleRows = new Rows(ruleList, makeRule),
    runRows = new Rows(runList, makeRun);
  asked(page, "rules", "The role rules", holder, (said) => {
    noRules.hidden = said.rules.length > 0;
    ruleRows.show(said.rules, (one) => one.name);
  });
  page.follow("runs", (said) => {
    if (!said.running) return;
    noRuns.hidden = said.answer.runs.length > 0;
    runRows.show(said.answer.runs, (one) => one.id);
  });
}

function makeRule(rule) {
  const state = h("span"),
    facts = h("div.muted.small");
  const trigger = action("Trigger …", () => ask(rule), "button.small");
  const node = h(
    "div",
    { class: "rule", style: { padding: "12px 14px", borderBottom: "1px solid var(--line)" } },
    h("div.buttons", h("strong", rule.name), state, h("span.muted.small", rule.description), h("span.grow"), trigger),
    h(
      "div.small",
      { style: { marginTop: "6px" } },
      h("span.muted", "when "),
      rule.when.join("; or "),
      h("span.muted", " → "),
      rule.steps.join(" → "),
    ),
    facts,
  );
  return {
    node,
    update(one) {
      if (state.textContent !== one.state) replace(state, badge(one.state));
      const held = Object.entries(one.suppressed ?? {})
        .filter(([, n]) => n)
        .map(([why, n]) => `${n} left out (${why})`);
      text(
        facts,
        [
          one.last_us ? `last run ${moment(one.last_us / 1000)}` : "never run",
          one.next_us ? `next ${moment(one.next_us / 1000)}` : "",
          ...held,
        ]
          .filter(Boolean)
          .join(" · "),
      );
    },
  };
}

function ask(rule) {
  const details = h("textarea", { rows: 3, placeholder: "{}", spellcheck: false });
  const problem = h("div", { role: "alert" });
  const go = action(
    "Trigger",
    async () => {
      try {
        const run = await post(`/v1/rules/${encodeURIComponent(rule.name)}/trigger`, {
          by: named(),
          details: details.value.trim() ? JSON.parse(details.value) : {},
        });
        toast(`Run ${run.id.slice(0, 8)} of ${rule.name} has begun`);
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    `Trigger ${rule.name}`,
    [h("p", `Its steps: ${rule.steps.join(" → ")}.`), field("Details for the steps, as JSON", details).node, problem],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

function makeRun(run) {
  let latest = run;
  const state = h("span"),
    steps = h("div.steps", { style: { marginTop: "7px" } }),
    facts = h("span.muted.small");
  const approve = action("Approve …", () => decide(latest, "approve"), "button.small.main"),
    reject = action("Reject …", () => decide(latest, "reject"), "button.small.danger");
  const cancel = action("Cancel", () => decide(latest, "cancel"), "button.small.quiet");
  const node = h(
    "div",
    { style: { padding: "12px 14px", borderBottom: "1px solid var(--line)" }, id: `run-${run.id}` },
    h(
      "div.buttons",
      h(
        "button.quiet.small",
        { type: "button", onclick: () => details(latest) },
        h("strong", run.rule),
        h("span.mono.muted", ` ${run.id.slice(0, 8)}`),
      ),
      state,
      facts,
      h("span.grow"),
      approve,
      reject,
      cancel,
    ),
    steps,
  );
  return {
    node,
    update(one) {
      latest = one;
      if (state.textContent !== one.state) replace(state, badge(one.state));
      const ended = one.ended_us || Date.now() * 1000;
      text(
        facts,
        `${one.trigger.what || one.trigger.kind}${one.trigger.by ? ` by ${one.trigger.by}` : ""} · ${moment(one.started_us / 1000)} · ${seconds((ended - one.started_us) / 1e6)}${one.reason ? ` · ${one.reason}` : ""}`,
      );
      const waits = one.steps.some((step) => step.state === "approval");
      approve.hidden = reject.hidden = !waits;
      cancel.hidden = ["done", "failed", "cancelled"].includes(one.state);
      const said = JSON.stringify(one.steps.map((step) => [step.state, step.progress]));
      if (steps.dataset.said === said) return;
      steps.dataset.said = said;
      replace(
        steps,
        one.steps
          .filter((step) => step.part === "steps" || step.state !== "pending")
          .flatMap((step, i) => [
            i ? h("span.muted", { ariaHidden: "true" }, "→") : null,
            h(
              "span",
              h(
                "span.badge",
                { class: KIND[step.state] ?? "", title: step.error || json(step.progress) },
                `${step.name || step.kind}`,
              ),
              progress(step),
            ),
          ]),
      );
    },
  };
}

function progress(step) {
  if (step.state === "approval") return h("span.warn.small", "waits for a person");
  if (step.state !== "running") return step.error ? h("span.bad.small", step.error.slice(0, 90)) : null;
  const { epoch, epochs, trials, of } = step.progress ?? {};
  return h("span.muted.small", epoch ? `epoch ${epoch} of ${epochs}` : trials ? `${trials} of ${of} trials` : "");
}

async function decide(run, verdict) {
  const comment = h("input", { type: "text", maxLength: 400, placeholder: "why" });
  const by = named();
  const step = run.steps.find((one) => one.state === "approval");
  const said = {
    approve: `Let step ${step?.name ?? ""} go on?`,
    reject: `Reject step ${step?.name ?? ""}?`,
    cancel: "Cancel the run?",
  }[verdict];
  const before = run.steps
    .filter((one) => one.state === "done")
    .map((one) =>
      h(
        "li",
        `${one.name || one.kind}: `,
        Object.entries(one.result)
          .map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : json(value)}`)
          .join(", ")
          .slice(0, 300),
      ),
    );
  const yes = await confirm(
    said,
    [before.length ? h("div", h("h3", "What came before"), h("ul", before)) : null, field("Comment", comment).node],
    { approve: "Approve", reject: "Reject", cancel: "Cancel the run" }[verdict],
    verdict !== "approve",
  );
  if (!yes) return;
  await post(`/v1/rules/runs/${run.id}/${verdict}`, { by, comment: comment.value });
  toast({ approve: "Approved", reject: "Rejected", cancel: "Cancelled" }[verdict]);
}

function details(run) {
  dialog(
    `Run ${run.id.slice(0, 8)} of ${run.rule}`,
    [
      pairs([
        ["State", run.state],
        ["Began", moment(run.started_us / 1000)],
        ["Trigger", `${run.trigger.kind}: ${run.trigger.what ?? ""}`],
        ["By", run.trigger.by],
        ["Details", h("pre", json(run.trigger.details ?? {}))],
      ]),
      h("p.muted", many(run.steps.length, "step")),
      run.steps.map((step) =>
        h(
          "section.panel",
          h(
            "header",
            h("h2", `${step.number}. ${step.name || step.kind}`),
            h("span.badge", { class: KIND[step.state] ?? "" }, step.state),
            h("span.note", step.part === "steps" ? "" : step.part),
          ),
          h(
            "div.body",
            step.error ? h("div.notice.bad", h("div.text", step.error)) : null,
            pairs([
              ["Took", step.started_us ? seconds(((step.ended_us || Date.now() * 1000) - step.started_us) / 1e6) : ""],
              [
                "Approval",
                step.approval
                  ? `${step.approval.verdict} by ${step.approval.by}${step.approval.comment ? `: ${step.approval.comment}` : ""}`
                  : "",
              ],
              ["Result", Object.keys(step.result ?? {}).length ? h("pre", json(step.result, 2)) : ""],
            ]),
          ),
        ),
      ),
    ],
    [],
    true,
  );
}
