// Sparklines and bars.

import { Chart, colour } from "./paper.js";
import { h } from "../dom.js";
import { number } from "../format.js";

export class Spark extends Chart {
  constructor(label, name = "accent", height = 26) {
    super(height, label);
    this.colour = name;
    this.values = [];
    this.node = this.canvas;
    this.canvas.setAttribute("aria-hidden", "true");
  }

  show(values) {
    this.values = values;
    this.draw();
  }

  draw() {
    const made = this.paper();
    const values = this.values.filter((one) => one !== null && one !== undefined);
    if (!made || values.length < 2) return;
    const { paper, width, height } = made;
    const high = Math.max(...values, 1e-9),
      low = Math.min(0, ...values);
    const x = (i) => (i / (values.length - 1)) * (width - 2) + 1;
    const y = (value) => height - 2 - ((value - low) / (high - low || 1)) * (height - 4);
    paper.beginPath();
    values.forEach((value, i) => (i ? paper.lineTo(x(i), y(value)) : paper.moveTo(x(i), y(value))));
    paper.strokeStyle = colour(this.colour);
    paper.lineWidth = 1.5;
    paper.lineJoin = "round";
    paper.stroke();
    paper.lineTo(x(values.length - 1), height);
    paper.lineTo(x(0), height);
    paper.closePath();
    paper.globalAlpha = 0.12;
    paper.fillStyle = colour(this.colour);
    paper.fill();
    paper.globalAlpha = 1;
  }
}

// Bars of shares with names below: a histogram, or how often each category is there. `against` is drawn as outlines.
export class Bars extends Chart {
  constructor({ height = 120, label, format = number }) {
    super(height, label);
    this.format = format;
    this.bars = [];
    this.tip = h("div.tip", { hidden: true });
    this.node = h("div.chartbox", this.canvas, this.tip);
    this.canvas.addEventListener("pointermove", (event) => {
      this.at = event.offsetX;
      this.draw();
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.at = null;
      this.draw();
    });
  }

  show(bars) {
    this.bars = bars;
    this.draw();
  } // [{name, value, against}]

  draw() {
    const made = this.paper();
    if (!made || !this.bars.length) return;
    const { paper, width, height } = made;
    paper.font = `10.5px ${getComputedStyle(document.body).fontFamily}`;
    const high = Math.max(...this.bars.flatMap((one) => [one.value, one.against ?? 0]), 1e-12);
    const each = width / this.bars.length,
      floor = height - 16;
    const y = (value) => floor - (value / high) * (floor - 6);
    let chosen = null;
    this.bars.forEach((bar, i) => {
      const over = this.at !== null && this.at !== undefined && this.at >= i * each && this.at < (i + 1) * each;
      if (over) chosen = [bar, i];
      paper.fillStyle = colour("accent");
      paper.globalAlpha = over ? 1 : 0.72;
      const gap = Math.min(3, each * 0.15);
      paper.fillRect(i * each + gap, y(bar.value), Math.max(1, each - 2 * gap), floor - y(bar.value));
      paper.globalAlpha = 1;
      if (bar.against !== undefined && bar.against !== null) {
        paper.fillStyle = colour("amber");
        paper.fillRect(i * each, y(bar.against) - 1, each, 2);
      }
    });
    paper.fillStyle = colour("faint");
    const every = Math.ceil(this.bars.length / Math.max(1, Math.floor(width / 64)));
    this.bars.forEach((bar, i) => {
      if (i % every && i !== this.bars.length - 1) return;
      if (i === this.bars.length - 1 && i % every) {
        if (i % every < every / 2) return;
      }
      const at = (i + 0.5) * each;
      paper.textAlign = i === 0 ? "left" : i === this.bars.length - 1 ? "right" : "center";
      const name = String(bar.name);
      paper.fillText(
        name.length > 11 ? `${name.slice(0, 10)}…` : name,
        i === 0 ? 1 : i === this.bars.length - 1 ? width - 1 : at,
        height - 3,
      );
    });
    this.tip.hidden = chosen === null;
    if (chosen) {
      const [bar, i] = chosen;
      this.tip.replaceChildren(
        h("div.muted", bar.title ?? String(bar.name)),
        h(
          "div",
          h("b", this.format(bar.value)),
          bar.against !== undefined && bar.against !== null ? ` beside ${this.format(bar.against)}` : "",
        ),
      );
      Object.assign(this.tip.style, {
        left: `${Math.max(0, Math.min(width - this.tip.offsetWidth, i * each))}px`,
        top: "-8px",
      });
    }
  }
}
