// One item after another: its lease, the label, skip, undo, review.

import { get, post } from "../../core/api.js";
import { empty, h, pairs, panel, replace, text } from "../../core/dom.js";
import { json, number } from "../../core/format.js";
import { action, failed, toast } from "../../core/notify.js";
import { person } from "../../core/person.js";
import { makeForm } from "./form.js";

export function makeWork(page) {
  const made = panel("To label", "");
  const body = h("div", { id: "work" });
  made.body.append(body);
  const self = { node: made.node, queue: "", open, next, changed };
  let item = null,
    form = null,
    fields = null,
    renew = null,
    openBefore = 0,
    review = false;
  const only = h(
    "select",
    { ariaLabel: "Purpose", style: { width: "auto" } },
    h("option", { value: "also" }, "label and review"),
    h("option", { value: "never" }, "label only"),
    h("option", { value: "only" }, "review only"),
  );
  only.addEventListener("change", () => next(true));
  made.tools.append(only);

  function open(queue) {
    self.queue = queue;
    text(made.node.querySelector("h2"), `To label: ${queue}`);
    next();
  }

  function changed(said) {
    const now = said.queues.find((one) => one.name === self.queue)?.open ?? 0;
    if (!item && now > openBefore && person() && self.queue) next();
    openBefore = now;
  }

  async function next(fresh = false) {
    clearInterval(renew);
    item = null;
    if (!self.queue) return;
    if (!person()) {
      replace(
        body,
        empty(
          "Who are you?",
          "Write your name at the top right: every label says who gave it, and nobody reviews their own.",
        ),
      );
      return;
    }
    try {
      fields ??= await get("/v1/labelling/form");
      const said = await post(`/v1/labelling/queues/${encodeURIComponent(self.queue)}/lease`, {
        labeller: person(),
        review: only.value,
        fresh,
      });
      item = said.item;
    } catch (error) {
      replace(body, h("div.notice.bad", h("div.text", error.message)));
      return;
    }
    if (!item) {
      replace(
        body,
        empty(
          "Nothing to label now",
          "New items come by themselves as events do. ",
          "Items that others have leased come back if they do not label them in time.",
        ),
      );
      return;
    }
    review = item.lease?.purpose === "review";
    show();
    renew = setInterval(
      () =>
        item &&
        post(`/v1/labelling/items/${encodeURIComponent(item.id)}/renew`, { labeller: person() }).catch(() => {}),
      20000,
    );
  }

  function show() {
    form = makeForm(fields.fields, item.prediction, submit);
    const before = item.decisions.filter((one) => one.kind !== "skip" && !one.undone);
    const why = Object.entries(item.queues ?? {})
      .map(([name, score]) => (score === null ? name : `${name} ${number(score)}`))
      .join(", ");
    const left = h(
      "div",
      h("h3", "The event"),
      item.letter ? h("div.notice.bad", h("div.text", h("strong", item.letter.phase), ` ${item.letter.reason}`)) : null,
      item.event
        ? pairs(
            Object.entries(item.event).map(([name, value]) => [
              name,
              h("code", typeof value === "object" ? json(value) : String(value)),
            ]),
          )
        : h("pre", json(item.letter?.value ?? null, 2)),
    );
    const right = h(
      "div",
      { style: { display: "flex", flexDirection: "column", gap: "14px" } },
      h(
        "div.pairs",
        h("dt", "Predicted"),
        h(
          "dd",
          h(
            "strong",
            item.prediction === null || item.prediction === undefined
              ? "nothing"
              : typeof item.prediction === "number"
                ? number(item.prediction)
                : json(item.prediction),
          ),
          h("span.muted", ` by version ${item.version ?? "–"}`),
        ),
        h("dt", "In"),
        h("dd", why || self.queue),
        item.expires
          ? [
              h("dt", "Until"),
              h("dd", `${new Date(item.expires).toLocaleTimeString("en-GB")}: a label after that teaches nothing`),
            ]
          : null,
        review && before.length
          ? [h("dt", "Labelled"), h("dd", before.map((one) => `${one.labeller}: ${json(one.label)}`).join("; "))]
          : null,
      ),
      form.node,
      h(
        "div.buttons",
        action(review ? "Label (second opinion)" : "Label", submit, "button.main"),
        review && before.length ? action("Accept", () => decide("review", { accept: true }), "button") : null,
        action("Skip", skip),
        action("Undo", undo),
        h("span.grow"),
        h(
          "span.muted.small",
          h("kbd", "Enter"),
          " label · ",
          h("kbd", "S"),
          " skip · ",
          h("kbd", "U"),
          " undo",
          review && before.length ? [" · ", h("kbd", "A"), " accept"] : null,
        ),
      ),
    );
    made.note(`${item.key}${review ? " · review" : ""}`);
    replace(body, h("div.item-card", left, right));
    form.focus();
  }

  async function decide(kind, more) {
    const now = item;
    try {
      await post(`/v1/labelling/items/${encodeURIComponent(now.id)}/${kind}`, { labeller: person(), ...more });
      await next();
    } catch (error) {
      if (!form?.blame(error.message)) failed(error);
      if (error.status === 409) await next();
    }
  }

  async function submit() {
    if (!item) return;
    const label = form.read();
    if (label !== null) await decide(review ? "review" : "label", { label });
  }

  const skip = () => item && decide("skip", {});

  async function undo() {
    try {
      const said = await post(`/v1/labelling/queues/${encodeURIComponent(self.queue)}/undo`, { labeller: person() });
      toast(said.effect || "Undone");
      clearInterval(renew);
      item = said.item;
      review = false;
      fields ??= await get("/v1/labelling/form");
      show();
    } catch (error) {
      failed(error);
    }
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog, textarea, select")) return;
    const typing = event.target.closest("input[type='text']:not([inputmode='decimal']):not([inputmode='numeric'])");
    if (event.key === "Enter" && item && (event.target.closest("#work") || event.target === document.body)) {
      if (event.target.closest("button")) return;
      event.preventDefault();
      submit();
    } else if (typing) return;
    else if (event.key.toLowerCase() === "s" && item) {
      event.preventDefault();
      skip();
    } else if (event.key.toLowerCase() === "u" && self.queue) {
      event.preventDefault();
      undo();
    } else if (event.key.toLowerCase() === "a" && item && review) {
      event.preventDefault();
      decide("review", { accept: true });
    } else if (item && form.choose(event.key)) event.preventDefault();
  }
  // Before the page's own keys: digits choose a class here, and not a view.
  document.addEventListener("keydown", keys, true);
  page.onLeave(() => {
    document.removeEventListener("keydown", keys, true);
    clearInterval(renew);
    if (item)
      post(`/v1/labelling/items/${encodeURIComponent(item.id)}/release`, { labeller: person() }).catch(() => {});
  });
  return self;
}
