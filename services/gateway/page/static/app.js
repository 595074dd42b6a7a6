// The frame: which view is shown, the theme, the keys, and whether the stream is alive.

import { begin, state } from "./core/api.js";
import { themeChanged } from "./core/charts.js";
import { dialog, h, replace, text, toggle } from "./core/dom.js";
import { follow, onState } from "./core/stream.js";
import { VIEWS } from "./views/list.js";

const main = document.getElementById("main");
const links = new Map();
let leave = () => {};
let shown = null;

function theme(wanted) {
  const root = document.documentElement;
  root.dataset.theme = wanted;
  localStorage.setItem("headrace.theme", wanted);
  themeChanged();
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: light)");
  theme(localStorage.getItem("headrace.theme") ?? (system.matches ? "light" : "dark"));
}

const otherTheme = () => theme(document.documentElement.dataset.theme === "light" ? "dark" : "light");

function makeNav() {
  const nav = document.getElementById("nav");
  for (const view of VIEWS) {
    const count = h("span.count", { hidden: true });
    const link = h(
      "a",
      { href: `#/${view.id}` },
      h("span", view.name),
      count,
      h("kbd", { ariaHidden: "true" }, view.key),
    );
    links.set(view.id, { link, count });
    nav.append(link);
  }
  nav.append(h("div.foot", h("a", { href: "/docs" }, "REST API"), h("span", `version ${state.version}`)));
}

async function route() {
  const [, id = "", ...rest] = location.hash.split("/");
  const view = VIEWS.find((one) => one.id === id) ?? VIEWS[0];
  leave();
  leave = () => {};
  shown = view;
  for (const [name, { link }] of links) {
    if (name === view.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  links.get(view.id).link.scrollIntoView({ block: "nearest", inline: "nearest" });
  document.title = `${view.name} · ${state.pipeline} · Headrace`;
  const root = h("div.view", { id: `view-${view.id}` });
  replace(main, root);
  window.scrollTo(0, 0);
  const module = await view.load();
  if (shown !== view || !root.isConnected) return;
  const stops = [];
  leave = () => stops.splice(0).forEach((stop) => stop());
  module.mount(root, {
    rest: rest.map(decodeURIComponent),
    follow: (section, fn) => {
      const stop = follow(section, fn);
      stops.push(stop);
      return stop;
    },
    onLeave: (fn) => stops.push(fn),
  });
}

function help() {
  const rows = [
    ...VIEWS.map((view) => [view.key, view.name]),
    ["t", "dark or light"],
    ["?", "this list"],
    ["Esc", "close a dialog"],
  ];
  dialog(
    "Keyboard",
    h(
      "dl.pairs",
      rows.map(([key, what]) => [h("dt", h("kbd", key)), h("dd", what)]),
    ),
  );
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
  const view = VIEWS.find((one) => one.key === event.key);
  if (view) location.hash = `#/${view.id}`;
  else if (event.key === "t") otherTheme();
  else if (event.key === "?") help();
}

function alerts(said) {
  const firing = said.snapshot?.alerts?.length ?? 0;
  const { count } = links.get("drift") ?? {};
  if (!count) return;
  count.hidden = !firing;
  text(count, firing);
  count.setAttribute("aria-label", `${firing} alerts`);
}

async function begun() {
  for (;;) {
    try {
      return await begin();
    } catch (error) {
      replace(main, h("div.notice.bad", h("div.text", `${error.message}. The page tries again every 2 seconds.`)));
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

async function start() {
  startTheme();
  document.getElementById("theme").addEventListener("click", otherTheme);
  document.getElementById("keys").addEventListener("click", help);
  document.addEventListener("keydown", keys);
  const pill = document.getElementById("stream");
  onState((how) => {
    toggle(pill, "live", how === "live");
    toggle(pill, "lost", how === "lost");
    text(pill, how === "live" ? "live" : "connecting again");
  });
  await begun();
  text(document.getElementById("pipeline"), state.pipeline);
  document.getElementById("pipeline").title = state.description;
  makeNav();
  window.addEventListener("hashchange", () => {
    route();
    main.focus({ preventScroll: true });
  });
  follow("flow", alerts);
  await route();
}

start();
