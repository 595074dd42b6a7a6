// Rollouts as a picture: for each version a row for each worker, from publication (left) to serving.

import { h, replace, svg } from "../../core/dom.js";
import { seconds } from "../../core/format.js";

const [LEFT, ROW, HEAD, SHOWN] = [210, 17, 26, 6];

export class Timelines {
  constructor() {
    this.picture = svg("svg.gantt", { role: "img" });
    this.node = h("div.scroll", { tabIndex: 0, role: "group", ariaLabel: "Rollouts, worker by worker" }, this.picture);
    this.legend = h(
      "div.legend",
      h("span", h("i.swatch-blue"), "pulls and stages"),
      h("span", h("i.swatch-accent"), "ready, waits for the others; ● serves"),
      h("span", h("i.swatch-amber"), "activated"),
    );
    this.said = "";
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  show(timelines, workers) {
    const there = workers.filter((one) => one.state !== "left").map((one) => one.worker);
    this.versions = timelines.slice(0, SHOWN).map((one) => ({
      ...one,
      names: [...new Set([...Object.keys(one.staged), ...Object.keys(one.served), ...there])].sort().slice(0, 24),
    }));
    const said = JSON.stringify(this.versions);
    if (said === this.said) return;
    this.said = said;
    this.draw();
  }

  draw() {
    const versions = this.versions ?? [];
    const width = Math.max(560, this.node.clientWidth || 900);
    const spans = versions.flatMap((one) =>
      [...Object.values(one.served), ...Object.values(one.staged), one.activated_us]
        .filter(Boolean)
        .map((at) => at - one.published_us),
    );
    // The slowest of a few hundred rollouts would press all others together: beyond six medians the axis ends.
    const sorted = spans.filter((one) => one > 0).sort((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)] ?? 1e6;
    const most = Math.max(1000, Math.min(sorted[sorted.length - 1] ?? 1e6, middle * 6)) * 1.05;
    const x = (us) => LEFT + Math.min(1, Math.max(0, us / most)) * (width - LEFT - 70);
    const parts = [];
    const step = nice(most / 5);
    let y = HEAD;
    for (let at = 0; at <= most; at += step) {
      parts.push(
        svg("line.rule", {
          x1: x(at),
          x2: x(at),
          y1: 16,
          y2: HEAD + versions.reduce((sum, one) => sum + one.names.length * ROW + 14, 0),
        }),
        svg("text", { x: x(at), y: 11, "text-anchor": "middle" }, seconds(at / 1e6)),
      );
    }
    for (const one of versions) {
      const height = one.names.length * ROW;
      parts.push(svg("text.strongtext", { x: 0, y: y + 13 }, `version ${one.version}`));
      if (one.activated_us)
        parts.push(
          svg("line.act", {
            x1: x(one.activated_us - one.published_us),
            x2: x(one.activated_us - one.published_us),
            y1: y,
            y2: y + height,
          }),
        );
      one.names.forEach((name, i) => {
        const at = y + i * ROW + 9;
        const staged = one.staged[name],
          served = one.served[name];
        parts.push(
          svg(
            "text",
            { x: LEFT - 12, y: at + 4, "text-anchor": "end" },
            name.length > 18 ? `…${name.slice(-17)}` : name,
          ),
        );
        if (staged)
          parts.push(
            svg(
              "line.staged",
              { x1: x(0), x2: Math.max(x(0) + 2, x(staged - one.published_us)), y1: at, y2: at },
              svg(
                "title",
                {},
                `${name} had version ${one.version} ready after ${seconds((staged - one.published_us) / 1e6)}`,
              ),
            ),
          );
        if (staged && served && served > staged)
          parts.push(
            svg("line.waits", { x1: x(staged - one.published_us), x2: x(served - one.published_us), y1: at, y2: at }),
          );
        if (served) {
          parts.push(
            svg(
              "circle.flip",
              { cx: x(served - one.published_us), cy: at, r: 5 },
              svg(
                "title",
                {},
                `${name} serves version ${one.version} since ${seconds((served - one.published_us) / 1e6)} after its publication`,
              ),
            ),
          );
          parts.push(
            svg(
              "text",
              { x: x(served - one.published_us) + 10, y: at + 4 },
              seconds((served - one.published_us) / 1e6),
            ),
          );
        }
      });
      y += height + 14;
    }
    if (!versions.length)
      parts.push(
        svg(
          "text",
          { x: width / 2, y: 40, "text-anchor": "middle" },
          "No version has reached a worker in the last hour.",
        ),
      );
    const total = Math.max(y, 60);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${total}`);
    this.picture.style.height = `${total}px`;
    const newest = versions[0];
    this.picture.setAttribute(
      "aria-label",
      newest
        ? `Version ${newest.version}: ${Object.keys(newest.staged).length} workers have it ready, ${Object.keys(newest.served).length} serve it`
        : "No rollout",
    );
    replace(this.picture, parts);
  }
}

function nice(raw) {
  const size = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((one) => one * size).find((one) => one >= raw) ?? raw;
}
