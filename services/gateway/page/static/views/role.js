// What stands where a role is not running, and reading the sections that are a role's answer.

import { command, empty, h, replace } from "../core/dom.js";

// Show `body` with what `fn` makes of the answer; where the role is not there, the command that starts it.
export function asked(page, section, what, holder, fn) {
  const away = h("div", { hidden: true });
  holder.before(away);
  page.follow(section, (said) => {
    const there = said.running === true;
    holder.hidden = !there;
    away.hidden = there;
    if (there) {
      fn(said.answer);
      return;
    }
    const reason = said.error ?? "";
    if (away.dataset.said === reason + said.start && away.childElementCount) return;
    away.dataset.said = reason + said.start;
    replace(
      away,
      h(
        "section.panel",
        empty(
          `${what} ${said.start ? "is not running" : "cannot be read"}`,
          reason || "This starts it, beside the run:",
          said.start ? command(said.start) : null,
        ),
      ),
    );
  });
}

export const badge = (state) =>
  h(
    `span.badge.${{ done: "good", failed: "bad", cancelled: "warn", running: "hi", waiting: "warn" }[state] ?? "plain"}`,
    state,
  );
