// Who works on this page: asked once, kept in the browser, sent with labels, approvals and silences.

import { field, h } from "./dom.js";

const KEY = "headrace.person";

export const person = () => localStorage.getItem(KEY) ?? "";

export function personInput(changed = () => {}) {
  const input = h("input", {
    type: "text",
    value: person(),
    maxLength: 100,
    placeholder: "your name",
    autocomplete: "nickname",
    style: { width: "160px" },
    ariaLabel: "Your name",
  });
  input.addEventListener("change", () => {
    localStorage.setItem(KEY, input.value.trim());
    changed();
  });
  return input;
}

export function named() {
  const name = person();
  if (!name) throw new Error("Say who you are first: the field at the top right.");
  return name;
}

export const personField = (changed) => field("You are", personInput(changed)).node;
