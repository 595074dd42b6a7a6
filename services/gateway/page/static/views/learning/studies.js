// Studies: searches for better training settings, their trials, and the best of them.

import { post, send, state } from "../../core/api.js";
import { Lines } from "../../core/charts.js";
import { command, dialog, empty, field, h, pairs, panel, replace, Rows, table, text } from "../../core/dom.js";
import { json, moment, number, seconds } from "../../core/format.js";
import { action, confirm, toast } from "../../core/notify.js";
import { asked, badge } from "../role.js";

const OVER = ["done", "failed", "cancelled"];

export function mountStudies(root, page) {
  const made = panel("Studies", "searches for better settings; the validation part chooses");
  made.body.classList.add("flush");
  made.tools.append(action("Start a study …", () => startStudy(), "button"));
  const list = table(
    [
      { name: "Study" },
      { name: "State" },
      { name: "Trials", num: true },
      { name: "The pipeline's own", num: true },
      { name: "Best", num: true },
      { name: "Best settings" },
      { name: "" },
    ],
    { label: "Studies", tight: true },
  );
  const nothing = empty(
    "No study yet",
    "A study trains the model again and again with other settings, and compares each with the pipeline's " +
      "own on a part that nothing was chosen by.",
  );
  made.body.append(list.node, nothing);
  root.append(made.node);
  const rows = new Rows(list.body, (study) => {
    const cells = ["td", "td", "td.num", "td.num", "td.num", "td.mono"].map((one) => h(one));
    let latest = study;
    cells[0].append(
      h("button.small.quiet.mono", { type: "button", onclick: () => details(latest) }, study.id.slice(0, 6)),
      h("span.muted", ` ${moment(study.submitted_us / 1000)}`),
    );
    const cancel = action(
      "Cancel",
      async () => {
        if (await confirm("Cancel the study?", [h("p", "Its trials are thrown away.")], "Cancel it", true))
          await post(`/v1/training/studies/${study.id}/cancel`);
      },
      "button.small.quiet",
    );
    const remove = action("Remove", () => send("DELETE", `/v1/training/studies/${study.id}`), "button.small.quiet");
    return {
      node: h("tr", cells, h("td.num", cancel, remove)),
      update(one) {
        latest = one;
        if (cells[1].textContent !== one.state) replace(cells[1], badge(one.state));
        cells[1].title = one.error;
        const { report } = one;
        text(cells[2], report ? report.trials.length : one.trials !== undefined ? `${one.trials} of ${one.of}` : "–");
        text(cells[3], number(report?.first?.error));
        text(cells[4], number(report?.best?.error ?? one.best));
        text(
          cells[5],
          report
            ? Object.entries(report.best.settings)
                .map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : value}`)
                .join(", ")
            : one.error.slice(0, 80) || "–",
        );
        cancel.hidden = OVER.includes(one.state);
        remove.hidden = !OVER.includes(one.state);
      },
    };
  });
  asked(page, "studies", "The role train", made.node, (said) => {
    nothing.hidden = said.jobs.length > 0;
    list.node.hidden = !said.jobs.length;
    rows.show(said.jobs, (one) => one.id);
  });
}

function details(study) {
  const { report } = study;
  if (!report) {
    dialog(`Study ${study.id.slice(0, 6)}`, [
      study.error
        ? h("div.notice.bad", h("div.text", study.error))
        : h("p", `${study.state}; the trials are shown when it is done.`),
    ]);
    return;
  }
  const chart = new Lines({
    height: 220,
    time: false,
    zero: false,
    xname: "trial ",
    label: "Validation error of each trial",
    series: [
      { name: "trial", colour: "blue", width: 1.5 },
      { name: "best so far", colour: "accent", width: 2 },
    ],
  });
  let best = Infinity;
  const rows = report.trials.map((one) => {
    if (one.error !== null) best = Math.min(best, one.error);
    return [one.number, one.error, Number.isFinite(best) ? best : null];
  });
  dialog(
    `Study ${study.id.slice(0, 6)}`,
    [
      chart.node,
      chart.legend(),
      pairs([
        ["Test, the pipeline's own", number(report.test.first)],
        ["Test, the best", number(report.test.best)],
        ["Took", seconds(report.seconds)],
      ]),
      h("p", "The best settings, for pipeline.yaml:"),
      command(`training: ${json(report.best.settings)}`),
      h(
        "div.scroll",
        h(
          "table.tight",
          h(
            "thead",
            h(
              "tr",
              ["Trial", "State", "Error", "Epochs", "Settings"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            report.trials.map((one) =>
              h(
                "tr",
                { class: one.number === report.best.number ? "chosen" : "" },
                h("td", one.number),
                h("td", one.state),
                h("td", number(one.error)),
                h("td", one.epochs),
                h("td.mono", json(one.settings)),
              ),
            ),
          ),
        ),
      ),
    ],
    [],
    true,
  );
  chart.show(rows);
}

function startStudy() {
  const space = h("textarea", {
    rows: 3,
    value: "learning_rate=0.0005..0.05:log\nbatch_size=32,64,128",
    spellcheck: false,
  });
  const input = (value) => h("input", { type: "text", inputMode: "numeric", value });
  const [trials, workers, epochs, limit] = [input("12"), input("1"), input("2"), input("20000")];
  const data = h(
    "select",
    h("option", { value: "topic" }, "examples on the topic"),
    state.has_source ? h("option", { value: "source" }, "what the source replays") : null,
  );
  const problem = h("div", { role: "alert" });
  const go = action(
    "Start",
    async () => {
      const training = { data: data.value, epochs: Number(epochs.value), validation: 0.2 };
      if (data.value === "source" && limit.value) training.limit = Number(limit.value);
      try {
        const made = await post("/v1/training/studies", {
          training,
          space: space.value
            .split("\n")
            .map((one) => one.trim())
            .filter(Boolean),
          trials: Number(trials.value),
          workers: Number(workers.value),
        });
        toast(`Study ${made.id.slice(0, 6)} is ${made.state}`);
        shown.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const shown = dialog(
    "Start a study",
    [
      field(
        "What to try, one a line",
        space,
        "name=low..high, name=low..high:log, or name=a,b,c; names of training in pipeline.yaml",
      ).node,
      h(
        "div.form",
        field("Examples from", data).node,
        field("Examples", limit, "the first so many; of the source only").node,
        field("Trials", trials).node,
        field("At once", workers).node,
        field("Epochs of each", epochs).node,
      ),
      problem,
    ],
    [h("button", { type: "button", onclick: () => shown.close() }, "Leave it"), go],
  );
}
