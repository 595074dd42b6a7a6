// Learning: training jobs started, followed and compared; studies of hyperparameters.

import { post, send } from "../../core/api.js";
import { dialog, empty, h, pairs, panel, replace, Rows, table, text } from "../../core/dom.js";
import { count, json, many, moment, number, seconds } from "../../core/format.js";
import { action, confirm } from "../../core/notify.js";
import { makeCompare } from "./compare.js";
import { startJob } from "./starting.js";
import { asked, badge } from "../role.js";
import { mountStudies } from "./studies.js";

const OVER = ["done", "failed", "cancelled"];

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Learning"),
        h(
          "p",
          "The live trainer learns from the stream all the time. Here are jobs beside it: epochs over a " +
            "bounded set of examples, compared, and handed over if they are better.",
        ),
      ),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const jobs = makeJobs();
  const compare = makeCompare();
  holder.append(jobs.node, compare.node);
  jobs.onChosen = (chosen) => compare.show(chosen);
  asked(page, "training", "The role train", holder, (said) => jobs.show(said.jobs));
  mountStudies(root, page);
}

function makeJobs() {
  const made = panel("Training jobs", "the newest first; tick some to compare them");
  made.body.classList.add("flush");
  made.tools.append(action("Start a job …", () => startJob(), "button.main"));
  const list = table(
    [
      { name: "" },
      { name: "Job" },
      { name: "State" },
      { name: "Data" },
      { name: "Epochs" },
      { name: "Validation", num: true },
      { name: "Test", num: true },
      { name: "Best baseline", num: true },
      { name: "Took", num: true },
      { name: "Version", num: true },
      { name: "" },
    ],
    { label: "Training jobs", tight: true },
  );
  const nothing = empty(
    "No job yet",
    "A job trains a fresh copy of the model on a range of the examples topic, on files, or on what the " +
      "pipeline's source replays.",
  );
  made.body.append(list.node, nothing);
  const chosen = new Map();
  const self = { node: made.node, onChosen: () => {}, show };
  let touched = false;
  const rows = new Rows(list.body, (job) => {
    const box = h("input", { type: "checkbox", ariaLabel: `Compare job ${job.id.slice(0, 6)}` });
    box.addEventListener("change", () => {
      touched = true;
      if (box.checked) chosen.set(job.id, latest);
      else chosen.delete(job.id);
      tell();
    });
    const cells = ["td", "td", "td", "td", "td.num", "td.num", "td.num", "td.num", "td.num"].map((one) => h(one));
    const bar = h("i"),
      done = h("span.muted.small");
    const cancel = action("Cancel", () => stop(latest), "button.small.quiet");
    const remove = action("Remove", () => forget(latest), "button.small.quiet");
    cells[3].append(h("span.bar.epochs", bar), done);
    let latest = job;
    const open = h("button.small.quiet.mono", { type: "button", onclick: () => details(latest) }, job.id.slice(0, 6));
    cells[0].append(open, h("span.muted", ` ${moment(job.submitted_us / 1000)}`));
    return {
      node: h("tr", h("td", box), cells, h("td.num", cancel, remove)),
      update(one) {
        latest = one;
        if (chosen.has(one.id)) chosen.set(one.id, one);
        box.checked = chosen.has(one.id);
        if (cells[1].textContent !== one.state) replace(cells[1], badge(one.state));
        cells[1].title = one.error;
        text(cells[2], one.data + (one.model ? `, ${one.model}` : ""));
        const all = one.epochs || 1,
          at =
            one.state === "done"
              ? 1
              : Math.min(1, ((one.epoch ? one.epoch - 1 : 0) + (one.batches ? one.done / one.batches : 0)) / all);
        bar.style.width = `${at * 100}%`;
        text(
          done,
          one.state === "done"
            ? many(one.report?.epochs?.length, "epoch")
            : one.epoch
              ? `epoch ${one.epoch} of ${all}`
              : one.state === "failed"
                ? one.error.slice(0, 60)
                : "not begun",
        );
        const { parts = {}, unit = "" } = one.report ?? {};
        const passed = (one.curve ?? []).map((each) => each.validation).filter((each) => each !== null);
        const error = parts.validation?.error ?? (passed.length ? Math.min(...passed) : null);
        text(cells[4], error === null ? "–" : `${number(error)} ${unit}`);
        text(
          cells[5],
          parts.test?.error === undefined || parts.test?.error === null ? "–" : `${number(parts.test.error)} ${unit}`,
        );
        const baselines = Object.values(parts.test?.baselines ?? {});
        text(cells[6], baselines.length ? `${number(Math.min(...baselines))} ${unit}` : "–");
        const ended = one.finished_us ?? Date.now() * 1000;
        text(cells[7], one.started_us ? seconds((ended - one.started_us) / 1e6) : "–");
        text(cells[8], one.report?.version || "–");
        cancel.hidden = OVER.includes(one.state);
        remove.hidden = !OVER.includes(one.state);
      },
    };
  });
  function tell() {
    self.onChosen([...chosen.values()]);
  }
  function show(jobs) {
    nothing.hidden = jobs.length > 0;
    list.node.hidden = !jobs.length;
    for (const id of [...chosen.keys()]) if (!jobs.some((one) => one.id === id)) chosen.delete(id);
    if (!touched) for (const one of jobs.slice(0, 4)) if (one.curve?.length) chosen.set(one.id, one);
    rows.show(jobs, (one) => one.id);
    tell();
  }
  return self;
}

async function stop(job) {
  if (await confirm("Cancel the job?", [h("p", "What it has learned so far is thrown away.")], "Cancel the job", true))
    await post(`/v1/training/jobs/${job.id}/cancel`);
}

async function forget(job) {
  if (
    await confirm(
      "Remove the job?",
      [h("p", "Its report and its weights are deleted. A version that it published stays.")],
      "Remove it",
      true,
    )
  )
    await send("DELETE", `/v1/training/jobs/${job.id}`);
}

function details(job) {
  const parts = Object.entries(job.report?.parts ?? {});
  dialog(
    `Training job ${job.id.slice(0, 6)}`,
    [
      job.error ? h("div.notice.bad", h("div.text", job.error)) : null,
      pairs([
        ["State", job.state],
        ["Data", json(job.report?.data ?? job.data)],
        ["Settings", h("pre", json(Object.keys(job.settings).length ? job.settings : "the pipeline's own"))],
        ["Best epoch", job.report?.best],
        ["Steps", job.report && count(job.report.steps)],
        ["Left out", job.report && `${count(job.report.left_out)} ${job.report.reasons.join("; ")}`],
        ["Weights", job.state === "done" ? h("a", { href: `/v1/training/jobs/${job.id}/weights` }, "safetensors") : ""],
      ]),
      parts.length
        ? h(
            "div.scroll",
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  ["Part", "Examples", "Error", "Baselines", "Metrics"].map((name) => h("th", { scope: "col" }, name)),
                ),
              ),
              h(
                "tbody",
                parts.map(([name, part]) =>
                  h(
                    "tr",
                    h("td", name),
                    h("td", count(part.examples)),
                    h("td", number(part.error)),
                    h(
                      "td",
                      Object.entries(part.baselines)
                        .map(([base, error]) => `${base} ${number(error)}`)
                        .join(", "),
                    ),
                    h(
                      "td",
                      Object.entries(part.metrics)
                        .map(([metric, value]) => `${metric} ${number(value)}`)
                        .join(", "),
                    ),
                  ),
                ),
              ),
            ),
          )
        : null,
      job.report ? h("pre.command", { tabIndex: 0 }, json(job.report.settings, 2)) : null,
    ],
    [],
    true,
  );
}
