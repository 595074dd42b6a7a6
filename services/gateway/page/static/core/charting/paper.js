// Charts on canvas: lines over time, sparklines, histograms. Colours are the style sheet's, read anew at each theme.

import { h } from "../dom.js";

let colours = {};

const drawn = new Set();

export function colour(name) {
  return (colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
}

export function themeChanged() {
  colours = {};
  for (const one of drawn) one.draw();
}

const observer = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.chart?.draw()));

export class Chart {
  constructor(height, label) {
    this.canvas = h("canvas.chart", { role: "img", ariaLabel: label, style: { height: `${height}px` } });
    this.canvas.chart = this;
    this.height = height;
    this.label = label;
    observer.observe(this.canvas);
    drawn.add(this);
  }

  paper() {
    const { canvas } = this;
    const width = canvas.clientWidth;
    if (!canvas.isConnected) {
      if (this.shown) drawn.delete(this);
      return null;
    }
    this.shown = true;
    if (!width) return null;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(this.height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(this.height * ratio);
    }
    const paper = canvas.getContext("2d");
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    paper.clearRect(0, 0, width, this.height);
    return { paper, width, height: this.height };
  }
}

export function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  const size = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * size).find((one) => one >= raw) ?? size;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step)
    found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}
