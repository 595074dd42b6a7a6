// The river as a live picture: how events become predictions, labels become examples, examples become versions.

import { h, svg, text, toggle } from "../../core/dom.js";
import { brief, count, rate, seconds } from "../../core/format.js";

const [WIDTH, HEIGHT] = [1120, 270];
const BOXES = {
  events: { x: 10, y: 24, w: 172, title: "events" },
  stream: { x: 306, y: 24, w: 196, title: "stream" },
  predictions: { x: 626, y: 24, w: 190, title: "predictions" },
  monitor: { x: 930, y: 24, w: 180, title: "monitor" },
  labels: { x: 10, y: 174, w: 172, title: "labels" },
  join: { x: 306, y: 174, w: 196, title: "join" },
  trainer: { x: 626, y: 174, w: 190, title: "trainer" },
  rollout: { x: 930, y: 174, w: 180, title: "rollout" },
};
const TALL = 74;
const LINES = [
  ["events", "M182 61 H306", "events"],
  ["predictions", "M502 61 H626", "predictions"],
  ["scored", "M816 61 H930", "predictions"],
  ["joinEvents", "M222 61 C270 61 240 198 306 198", "events"],
  ["labels", "M182 211 H306", "labels"],
  ["examples", "M502 211 H626", "labels"],
  ["versions", "M816 211 H930", "versions"],
  ["activate", "M1020 174 V136 H404 V98", "versions"],
];

export class River {
  constructor() {
    this.boxes = {};
    this.flows = [];
    this.picture = svg("svg.river", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "The river" });
    for (const [name, path, kind] of LINES) this.picture.append(this.makeLine(name, path, kind));
    for (const [name, box] of Object.entries(BOXES)) this.picture.append(this.makeBox(name, box));
    this.node = h("div.scroll", { tabIndex: 0, role: "group", ariaLabel: "Picture of the flow" }, this.picture);
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.last = performance.now();
    this.frame = requestAnimationFrame((now) => this.move(now));
  }

  makeBox(name, { x, y, w, title }) {
    const main = svg("text.river-value", { x: 14, y: 46 }, "–");
    const sub = svg("text.river-sub", { x: 14, y: 64 }, "");
    const mark = svg("circle.river-mark", { cx: w - 16, cy: 18, r: 4 });
    const node = svg(
      "g.river-box",
      { transform: `translate(${x} ${y})` },
      svg("rect", { width: w, height: TALL, rx: 10 }),
      svg("text.river-title", { x: 14, y: 22 }, title),
      main,
      sub,
      mark,
    );
    this.boxes[name] = { node, main, sub };
    return node;
  }

  makeLine(name, path, kind) {
    const line = svg("path.river-line", { d: path });
    const dots = Array.from({ length: 14 }, () => svg("circle.river-dot", { r: 2.6, class: kind, cx: -9, cy: -9 }));
    this.flows.push({ name, kind, line, dots, phase: 0, speed: 0, shown: 0 });
    return svg("g", line, dots);
  }

  show({ snapshot, roles }) {
    const { rates, counts, versions, lag } = snapshot;
    const put = (name, main, sub) => {
      text(this.boxes[name].main, main);
      text(this.boxes[name].sub, sub);
    };
    put("events", `${rate(rates.events)} /s`, `${count(counts.events)} in all`);
    const serving = versions.serving ?? [];
    put(
      "stream",
      serving.length ? `version ${serving.join(", ")}` : "no version",
      `lag ${count(lag?.stream ?? counts.unpredicted)} · p50 ${seconds(snapshot.latency?.p50)}`,
    );
    put(
      "predictions",
      `${rate(rates.predictions)} /s`,
      `${count(counts.predictions)} · ${count(counts.duplicates)} twice`,
    );
    put("labels", `${rate(rates.labels)} /s`, `${count(counts.labels)} in all`);
    put("join", `${count(counts.joined)}`, `joined · lag ${brief(lag?.join ?? 0)}`);
    put(
      "trainer",
      versions.newest ? `version ${versions.newest}` : "none yet",
      `lag ${brief(lag?.trainer ?? 0)} · ${brief(versions.examples)} learned`,
    );
    put(
      "rollout",
      versions.active ? `version ${versions.active}` : "none yet",
      versions.pinned
        ? "pinned"
        : versions.canary
          ? `canary ${versions.canary.version}`
          : `${count(versions.swaps)} swaps`,
    );
    put(
      "monitor",
      snapshot.model?.window === null || snapshot.model?.window === undefined
        ? "no labels yet"
        : `${Number(snapshot.model.window).toPrecision(3)} ${snapshot.error_unit ?? ""}`,
      `error, last ${count(snapshot.window)}`,
    );
    const there = { stream: "stream", join: "join", trainer: "trainer", monitor: "monitor", rollout: "coordinator" };
    for (const [box, role] of Object.entries(there))
      this.health(
        box,
        roles?.filter((one) => one.role === role),
      );
    const flow = { events: rates.events, predictions: rates.predictions, labels: rates.labels };
    for (const one of this.flows) {
      const perSecond =
        one.kind === "versions" ? (versions.newest > (this.newest ?? versions.newest) ? 30 : 1) : (flow[one.kind] ?? 0);
      // So many dots as the rate has orders of magnitude, times three; faster where there is more.
      one.shown = perSecond > 0.05 ? Math.min(one.dots.length, 2 + Math.round(Math.log10(1 + perSecond) * 3)) : 0;
      one.speed = 0.06 + 0.05 * Math.log10(1 + perSecond);
    }
    this.newest = versions.newest;
    this.picture.setAttribute(
      "aria-label",
      `${rate(rates.events)} events a second, ${rate(rates.predictions)} predictions a second, version ${serving.join(", ")} serves, version ${versions.newest} is the newest`,
    );
  }

  health(box, processes) {
    const { node } = this.boxes[box];
    const all = processes?.length && processes.every((one) => one.ready);
    toggle(node, "ready", all);
    toggle(node, "down", processes !== undefined && !all);
  }

  move(now) {
    if (this.stopped) return;
    const passed = Math.min(0.1, (now - this.last) / 1000);
    this.last = now;
    for (const flow of this.flows) {
      flow.length ||= flow.line.getTotalLength();
      if (!this.still) flow.phase = (flow.phase + passed * flow.speed * (124 / flow.length + 0.35)) % 1;
      flow.dots.forEach((dot, i) => {
        if (i >= flow.shown) {
          if (dot.shown !== false) {
            dot.setAttribute("opacity", 0);
            dot.shown = false;
          }
          return;
        }
        const at = flow.line.getPointAtLength(((flow.phase + i / flow.shown) % 1) * flow.length);
        if (dot.shown !== true) {
          dot.setAttribute("opacity", 1);
          dot.shown = true;
        }
        dot.setAttribute("transform", `translate(${at.x + 9} ${at.y + 9})`);
      });
    }
    this.frame = requestAnimationFrame((then) => this.move(then));
  }

  stop() {
    this.stopped = true;
    cancelAnimationFrame(this.frame);
  }
}
