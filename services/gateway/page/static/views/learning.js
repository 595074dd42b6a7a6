// Learning: training jobs started, followed and compared; studies of hyperparameters.

import { post, send, state } from "../core/api.js";
import { Lines } from "../core/charts.js";
import { dialog, empty, field, h, pairs, panel, replace, Rows, table, text } from "../core/dom.js";
import { count, json, many, moment, number, seconds } from "../core/format.js";
import { action, confirm, failed, toast } from "../core/notify.js";
import { mountStudies } from "./studies.js";
import { asked, badge } from "./role.js";

const COLOURS = ["accent", "blue", "violet", "amber", "red", "green"];
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
          "The live trainer learns from the stream all the time. Here are jobs beside it: epochs over a bounded set of examples, compared, and handed over if they are better.",
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
    "A job trains a fresh copy of the model on a range of the examples topic, on files, or on what the pipeline's source replays.",
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

function startJob() {
  const data = h(
    "select",
    { name: "data" },
    h("option", { value: "topic" }, "examples on the topic"),
    state.has_source ? h("option", { value: "source" }, "what the source replays") : null,
    h("option", { value: "datasets" }, "data sets"),
  );
  const sets = h("input", { type: "text", placeholder: "rides@3, more@1", autocomplete: "off" });
  const input = (value, more = {}) => h("input", { type: "text", inputMode: "decimal", value, ...more });
  const [limit, epochs, validation, test, patience, learning, batch] = [
    input("", { placeholder: "all" }),
    input("5"),
    input("0.1"),
    input("0.1"),
    input("0"),
    input("", { placeholder: "the pipeline's" }),
    input("", { placeholder: "the pipeline's" }),
  ];
  const further = h("textarea", { rows: 3, placeholder: '{"clip_norm": 1.0}', spellcheck: false });
  const options = h("input", { type: "text", placeholder: "rate=2000, seed=3" });
  const model = h(
    "select",
    state.models.map((one, i) => h("option", { value: i ? one.model.split(".").pop() : "" }, one.model)),
  );
  const over = h("input", { type: "checkbox" });
  const limitField = field("Examples", limit, "the first so many; of the source only"),
    optionsField = field("Source's options", options, "name=value, by commas");
  const setsField = field("Sets", sets, "name@version, by commas");
  const fit = () => {
    limitField.node.hidden = optionsField.node.hidden = data.value !== "source";
    setsField.node.hidden = data.value !== "datasets";
  };
  data.addEventListener("change", fit);
  fit();
  const problem = h("div", { role: "alert" });
  const go = action(
    "Start",
    async () => {
      const settings = further.value.trim() ? JSON.parse(further.value) : {};
      if (learning.value) settings.learning_rate = Number(learning.value);
      if (batch.value) settings.batch_size = Number(batch.value);
      const body = {
        data: data.value,
        model: model.value,
        epochs: Number(epochs.value),
        validation: Number(validation.value),
        test: Number(test.value),
        patience: Number(patience.value),
        settings,
        hand_over: over.checked,
      };
      if (data.value === "source") {
        if (limit.value) body.limit = Number(limit.value);
        body.options = options.value
          .split(",")
          .map((one) => one.trim())
          .filter(Boolean);
      }
      if (data.value === "datasets")
        body.datasets = sets.value
          .split(",")
          .map((one) => one.trim())
          .filter(Boolean);
      try {
        const job = await post("/v1/training/jobs", body);
        toast(`Job ${job.id.slice(0, 6)} is ${job.state}`);
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    "Start a training job",
    [
      h(
        "div.form",
        field("Examples from", data).node,
        setsField.node,
        limitField.node,
        optionsField.node,
        field("Model", model).node,
        field("Epochs", epochs).node,
        field("Validation share", validation, "chooses the best epoch").node,
        field("Test share", test, "for the report alone").node,
        field("Patience", patience, "epochs without a better one; 0: never").node,
        field("Learning rate", learning).node,
        field("Batch size", batch).node,
      ),
      field("Further settings of training, as JSON", further).node,
      h("label.check", over, h("span", "Hand over: publish the result; the live trainer goes on from it")),
      problem,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
  data.focus();
}

function makeCompare() {
  const made = panel("Compared", "validation error after each epoch");
  const body = h("div");
  made.body.append(body);
  made.node.hidden = true;
  let chart = null,
    said = "";
  return {
    node: made.node,
    show(jobs) {
      const some = jobs.filter((one) => one.curve?.length).slice(0, COLOURS.length);
      made.node.hidden = !some.length;
      const now = JSON.stringify(some.map((one) => [one.id, one.curve.length, one.state]));
      if (!some.length || now === said) return;
      said = now;
      const unit = some.find((one) => one.report)?.report.unit ?? "";
      // A small set may have no validation part: then the loss on the training part is all there is to draw.
      const validated = some.some((one) => one.curve.some((each) => each.validation !== null));
      const what = validated ? "validation" : "loss";
      chart = new Lines({
        height: 240,
        time: false,
        zero: false,
        xname: "epoch ",
        label: `${what} after each epoch`,
        series: some.map((one, i) => ({ name: one.id.slice(0, 6), colour: COLOURS[i], width: 2 })),
      });
      const most = Math.max(...some.map((one) => one.curve.length));
      // What was asked for differs at least; a finished job says all of its settings.
      const settings = some.map((one) => flat(some.every((each) => each.report) ? one.report.settings : one.settings));
      const names = [...new Set(settings.flatMap(Object.keys))].sort();
      const differ = names.filter((name) => new Set(settings.map((one) => json(one[name]))).size > 1);
      const line = (name, values) =>
        h(
          "tr",
          h("th", { scope: "row" }, name),
          values.map((value) => h("td.num", value ?? "–")),
        );
      const best = (one) => {
        const some_ = one.curve.map((each) => each.validation).filter((each) => each !== null);
        return some_.length ? Math.min(...some_) : null;
      };
      replace(
        body,
        h(
          "div.grid",
          h("div.w7", chart.node),
          h(
            "div.w5.scroll",
            { tabIndex: 0, role: "group", ariaLabel: "Compared" },
            h(
              "table.tight",
              h(
                "thead",
                h(
                  "tr",
                  h("th", { scope: "col" }, "Job"),
                  some.map((one) => h("th.num", { scope: "col" }, one.id.slice(0, 6))),
                ),
              ),
              h(
                "tbody",
                line(
                  "data",
                  some.map((one) => one.data),
                ),
                line(
                  "best validation",
                  some.map((one) => number(best(one))),
                ),
                line(
                  "test",
                  some.map((one) => number(one.report?.parts?.test?.error)),
                ),
                line(
                  "loss at the end",
                  some.map((one) => number(one.curve[one.curve.length - 1].loss)),
                ),
                line(
                  "seconds an epoch",
                  some.map((one) => number(one.curve.reduce((sum, each) => sum + each.seconds, 0) / one.curve.length)),
                ),
                differ.map((name) =>
                  line(
                    name,
                    settings.map((one) => (one[name] === undefined ? "the pipeline's" : json(one[name]))),
                  ),
                ),
              ),
            ),
          ),
        ),
      );
      replace(made.tools, chart.legend());
      made.note(
        validated
          ? `validation error${unit ? `, ${unit}` : ""}, after each epoch`
          : "loss on the training part after each epoch; there is no validation part",
      );
      chart.show(
        Array.from({ length: most }, (_, i) => [
          i + 1,
          ...some.map((one) => one.curve.find((each) => each.epoch === i + 1)?.[what] ?? null),
        ]),
      );
    },
  };
}

export function flat(values, prefix = "") {
  return Object.assign(
    {},
    ...Object.entries(values ?? {}).map(([name, value]) =>
      value !== null && typeof value === "object" && !Array.isArray(value)
        ? flat(value, `${prefix}${name}.`)
        : { [`${prefix}${name}`]: value },
    ),
  );
}
