// A version's lineage as a graph: from the code and the examples, life by life, to the version and who serves it.

import { base, get } from "../../core/api.js";
import { command, dialog, h, pairs, svg } from "../../core/dom.js";
import { bytes, count, many, moment, number, short } from "../../core/format.js";
import { failed } from "../../core/notify.js";

const [WIDE, TALL, GAP] = [250, 104, 70];

export async function openLineage(model, version) {
  try {
    const said = await get(`${base()}/models/${encodeURIComponent(model)}/versions/${version}/lineage`);
    const { lineage, status, workers } = said;
    const newest = lineage.steps[0];
    dialog(
      `Lineage of ${model}, version ${version}`,
      [
        h(
          "div.scroll",
          { tabIndex: 0, role: "group", ariaLabel: "Lineage as a graph" },
          graph(lineage, workers, status),
        ),
        lineage.complete
          ? null
          : h(
              "p.muted",
              "Events of older versions were deleted from headrace.checkpoints; the graph begins with what is left.",
            ),
        pairs([
          ["Checkpoint", h("code", lineage.checkpoint)],
          ["State", status ? `${status.state}${status.reason ? `: ${status.reason}` : ""}` : ""],
          ["Size", status?.size ? bytes(status.size) : ""],
          ["Served by", workers.join(", ") || "nobody in the last 7 days"],
          ...Object.entries(newest.origin).map(([name, value]) => [name, h("code", value)]),
          [
            "Metrics",
            Object.entries(newest.metrics)
              .map(([name, value]) => `${name} ${number(value)}`)
              .join(" · "),
          ],
        ]),
        h("p.muted.small", "The same by command: ", command(`headrace lineage ${version} --model ${model}`)),
      ],
      [],
      true,
    );
  } catch (error) {
    failed(error);
  }
}

// Columns from the oldest step to the version; each step has what it learned from above and its code below.
function graph(lineage, workers, status) {
  const steps = [...lineage.steps].reverse().slice(-4);
  const columns = steps.length + 1;
  const width = Math.max(760, columns * WIDE + (columns - 1) * GAP + 4),
    height = 3 * TALL + 2 * 42 + 4;
  const x = (i) => 2 + i * (WIDE + GAP),
    y = (row) => 2 + row * (TALL + 42);
  const parts = [];
  steps.forEach((step, i) => {
    const ranges = Object.entries(step.learned).map(([topic, range]) => [
      topic,
      Object.values(range).reduce((sum, [from, to]) => sum + to - from, 0),
      Object.entries(range),
    ]);
    parts.push(
      box(
        x(i),
        y(0),
        "data" in step.origin ? "training data" : "examples",
        "data" in step.origin
          ? lines(step.origin.data)
          : ranges.flatMap(([topic, sum, each]) => [
              topic,
              `${count(sum)} records`,
              each
                .slice(0, 4)
                .map(([p, [from, to]]) => `[${p}] ${from}–${to}`)
                .join(" ")
                .slice(0, 36),
            ]),
      ),
    );
    const which = step.first === step.last ? `version ${step.first}` : `versions ${step.first} to ${step.last}`;
    parts.push(
      box(
        x(i),
        y(1),
        which,
        [
          "job" in step.origin ? `training job ${short(step.origin.job, 12)}` : "learned from the stream",
          `${moment(step.published_us[0] / 1000)} to ${moment(step.published_us[1] / 1000)}`,
          step.metrics.error !== undefined ? `error ${number(step.metrics.error)}` : "",
        ],
        i === steps.length - 1 ? "subject" : "",
      ),
    );
    parts.push(
      box(x(i), y(2), "code", [
        short(step.origin.code ?? "", 24),
        step.origin.commit
          ? `commit ${short(step.origin.commit, 12)}${step.origin.commit.endsWith("+") ? " with changes" : ""}`
          : "not in a work tree",
        `headrace ${step.origin.headrace ?? "?"}, torch ${(step.origin.torch ?? "?").split("+")[0]}`,
      ]),
    );
    parts.push(
      arrow(x(i) + WIDE / 2, y(0) + TALL, x(i) + WIDE / 2, y(1)),
      arrow(x(i) + WIDE / 2, y(2), x(i) + WIDE / 2, y(1) + TALL),
    );
    if (i) parts.push(arrow(x(i) - GAP, y(1) + TALL / 2, x(i), y(1) + TALL / 2));
  });
  const last = steps.length;
  parts.push(
    box(x(last), y(1), workers.length ? `served by ${many(workers.length, "worker")}` : "served by nobody", [
      workers.slice(0, 2).join(", "),
      status?.activated_us ? `since ${moment(status.activated_us / 1000)}` : (status?.state ?? ""),
      status?.reason ?? "",
    ]),
  );
  parts.push(arrow(x(last) - GAP, y(1) + TALL / 2, x(last), y(1) + TALL / 2));
  return svg(
    "svg.lineage",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `${steps.length} steps lead to version ${lineage.version}`,
    },
    parts,
  );
}

function lines(data) {
  try {
    return Object.entries(JSON.parse(data))
      .slice(0, 3)
      .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`.slice(0, 38));
  } catch {
    return [data.slice(0, 38)];
  }
}

function box(x, y, name, under, kind = "") {
  return svg(
    `g${kind ? `.${kind}` : ""}`,
    { transform: `translate(${x} ${y})` },
    svg("rect", { width: WIDE, height: TALL, rx: 10 }),
    svg("text.name", { x: 14, y: 26 }, name),
    under
      .filter(Boolean)
      .map((line, i) => svg("text", { x: 14, y: 47 + i * 18 }, line.length > 36 ? `${line.slice(0, 35)}…` : line)),
  );
}

function arrow(x1, y1, x2, y2) {
  const [dx, dy] = [Math.sign(x2 - x1), Math.sign(y2 - y1)];
  return svg("path", {
    d: `M${x1} ${y1} L${x2} ${y2} M${x2 - dx * 7 - dy * 4} ${y2 - dy * 7 - dx * 4} L${x2} ${y2} L${x2 - dx * 7 + dy * 4} ${y2 - dy * 7 + dx * 4}`,
  });
}
