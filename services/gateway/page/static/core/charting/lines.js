// Lines over time, or over epochs and trials.

import { Chart, colour, ticks } from "./paper.js";
import { h } from "../dom.js";
import { clock, number } from "../format.js";

const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400].map(
  (s) => s * 1000,
);

// Lines: rows of [x, y1, y2, ...]; `series` says how each y looks. x is ms since the epoch, or a number if not `time`.
export class Lines extends Chart {
  constructor({ height = 220, series, label, format = number, zero = true, time = true, xname = "" }) {
    super(height, label);
    Object.assign(this, { series, format, zero, time, xname });
    this.rows = [];
    this.marks = [];
    this.tip = h("div.tip", { hidden: true });
    this.node = h("div.chartbox", this.canvas, this.tip);
    this.canvas.addEventListener("pointermove", (event) => this.hover(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
  }

  show(rows, marks = []) {
    this.rows = rows;
    this.marks = marks;
    const last = rows[rows.length - 1];
    this.canvas.setAttribute(
      "aria-label",
      last
        ? `${this.label}: ${this.series.map((one, i) => `${one.name} ${this.format(last[i + 1])}`).join(", ")}`
        : `${this.label}: nothing yet`,
    );
    this.draw();
  }

  hover(x) {
    this.at = x;
    this.draw();
  }

  draw() {
    const made = this.paper();
    if (!made) return;
    const { paper, width, height } = made;
    paper.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const values = this.rows
      .flatMap((row) => row.slice(1))
      .filter((one) => one !== null && one !== undefined && Number.isFinite(one));
    if (!this.rows.length || !values.length) {
      paper.fillStyle = colour("faint");
      paper.textAlign = "center";
      paper.fillText("nothing yet", width / 2, height / 2);
      return;
    }
    let low = this.zero ? Math.min(0, ...values) : Math.min(...values);
    let high = Math.max(...values);
    if (high === low) {
      high += Math.abs(high) * 0.1 || 1;
      if (!this.zero) low -= Math.abs(low) * 0.1 || 1;
    }
    high += (high - low) * 0.06;
    const marks = ticks(low, high, Math.max(2, height / 46));
    const places =
      this.format === number && marks.length > 1
        ? Math.max(0, Math.min(6, -Math.floor(Math.log10((marks[1] - marks[0]) * 0.999))))
        : null;
    const label = (value) => (places === null || Math.abs(value) >= 1000 ? this.format(value) : value.toFixed(places));
    const left = Math.max(...marks.map((one) => paper.measureText(label(one)).width)) + 12;
    const [top, right, bottom] = [8, 10, 20];
    const first = this.rows[0][0];
    const last = Math.max(this.rows[this.rows.length - 1][0], first + (this.time ? 1000 : 1));
    const px = (x) => left + ((x - first) / (last - first)) * (width - left - right);
    const py = (y) => top + (1 - (y - low) / (high - low)) * (height - top - bottom);
    paper.lineWidth = 1;
    paper.textBaseline = "middle";
    paper.textAlign = "right";
    for (const one of marks) {
      const y = Math.round(py(one)) + 0.5;
      paper.strokeStyle = colour("line");
      paper.beginPath();
      paper.moveTo(left, y);
      paper.lineTo(width - right, y);
      paper.stroke();
      paper.fillStyle = colour("faint");
      paper.fillText(label(one), left - 7, y);
    }
    paper.textBaseline = "alphabetic";
    for (const [x, name] of this.axis(first, last, (width - left) / 92)) {
      const at = px(x);
      paper.textAlign = at < left + 22 ? "left" : at > width - 34 ? "right" : "center";
      paper.fillText(name, at, height - 5);
    }
    for (const mark of this.marks) {
      if (mark.x < first || mark.x > last) continue;
      paper.strokeStyle = colour(mark.colour ?? "strong");
      paper.setLineDash([2, 3]);
      paper.beginPath();
      paper.moveTo(px(mark.x), top);
      paper.lineTo(px(mark.x), height - bottom);
      paper.stroke();
      paper.setLineDash([]);
    }
    this.series.forEach((series, i) => this.line(paper, series, i + 1, px, py, height - bottom));
    if (this.at !== null && this.at !== undefined) this.cross(paper, px, top, height - bottom, width, py);
    else this.tip.hidden = true;
  }

  axis(first, last, wanted) {
    if (!this.time)
      return ticks(first, last, Math.min(wanted, last - first))
        .filter((x) => Number.isInteger(x))
        .map((x) => [x, `${this.xname}${x}`]);
    const step = MINUTES.find((one) => (last - first) / one <= Math.max(2, wanted)) ?? 86400000;
    const zone = new Date(first).getTimezoneOffset() * 60000;
    const found = [];
    for (let at = Math.ceil((first - zone) / step) * step + zone; at <= last; at += step)
      found.push([at, step < 60000 ? clock(at) : clock(at).slice(0, 5)]);
    return found;
  }

  line(paper, series, column, px, py, floor) {
    paper.strokeStyle = colour(series.colour);
    paper.lineWidth = series.width ?? 1.75;
    paper.lineJoin = "round";
    paper.setLineDash(series.dash ?? []);
    paper.beginPath();
    let begun = false,
      firstX = 0,
      lastX = 0,
      points = 0,
      lastY = 0;
    for (const row of this.rows) {
      const y = row[column];
      if (y === null || y === undefined || !Number.isFinite(y)) continue;
      const x = px(row[0]);
      if (begun) paper.lineTo(x, py(y));
      else {
        paper.moveTo(x, py(y));
        firstX = x;
      }
      begun = true;
      lastX = x;
      lastY = py(y);
      points += 1;
    }
    paper.stroke();
    if (points === 1) {
      paper.fillStyle = colour(series.colour);
      paper.beginPath();
      paper.arc(lastX, lastY, 3, 0, 7);
      paper.fill();
    }
    paper.setLineDash([]);
    if (series.fill && begun) {
      paper.lineTo(lastX, floor);
      paper.lineTo(firstX, floor);
      paper.closePath();
      paper.globalAlpha = 0.1;
      paper.fillStyle = colour(series.colour);
      paper.fill();
      paper.globalAlpha = 1;
    }
  }

  cross(paper, px, top, floor, width, py) {
    const nearest = this.rows.reduce((best, row) =>
      Math.abs(px(row[0]) - this.at) < Math.abs(px(best[0]) - this.at) ? row : best,
    );
    const x = px(nearest[0]);
    paper.strokeStyle = colour("faint");
    paper.beginPath();
    paper.moveTo(x, top);
    paper.lineTo(x, floor);
    paper.stroke();
    this.series.forEach((series, i) => {
      if (!Number.isFinite(nearest[i + 1])) return;
      paper.fillStyle = colour(series.colour);
      paper.beginPath();
      paper.arc(x, py(nearest[i + 1]), 3.2, 0, 7);
      paper.fill();
    });
    const lines = this.series.map((series, i) => h("div", `${series.name} `, h("b", this.format(nearest[i + 1]))));
    this.tip.replaceChildren(h("div.muted", this.time ? clock(nearest[0]) : `${this.xname}${nearest[0]}`), ...lines);
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth;
    Object.assign(this.tip.style, { left: `${x + wide + 20 > width ? x - wide - 12 : x + 12}px`, top: `${top + 4}px` });
  }

  legend() {
    return h(
      "div.legend",
      this.series.map((one) => h("span", h(`i.swatch-${one.colour}`), one.name)),
    );
  }
}
