// What is served, what is on its way, and the shares of the keys.

import { state } from "../../core/api.js";
import { h, panel, replace, text } from "../../core/dom.js";
import { count, moment, number } from "../../core/format.js";
import { action } from "../../core/notify.js";

export function makeCard() {
  const fact = {};
  const tile = (id, label) => {
    fact[id] = [h("span"), h("div.sub")];
    return h("div.tile", { id: `model-${id}` }, h("span.label", label), h("div.value", fact[id][0]), fact[id][1]);
  };
  const tiles = h(
    "div.tiles",
    tile("active", "Serves"),
    tile("next", "On its way"),
    tile("previous", "Before"),
    tile("workers", "Workers"),
  );
  const buttons = h("div.buttons");
  const node = h(
    "section.panel",
    { ariaLabel: "What is served" },
    h("header", h("h2", "What is served"), h("span.note"), h("span.grow"), buttons),
    h("div.body", tiles),
  );
  let now = null,
    made = {};
  const put = (id, value, sub) => {
    text(fact[id][0], value);
    text(fact[id][1], sub);
  };
  return {
    node,
    actions(of) {
      made = {
        rollBack: action("Roll back …", of.rollBack, "button.danger"),
        pin: action("Pin here", of.pin),
        resume: action("Resume", of.resume, "button.main"),
        deploy: action("Deploy …", of.deploy),
      };
      buttons.append(made.resume, made.deploy, made.pin, made.rollBack);
    },
    show(view, workers, versions) {
      now = view;
      for (const one of [made.pin, made.rollBack, made.deploy])
        if (!now) one.disabled = true;
        else if (one.disabled && !one.matches(":focus")) one.disabled = false;
      made.resume.hidden = !now?.pinned;
      made.pin.hidden = Boolean(now?.pinned);
      if (!now) {
        put("active", "–", "no version is rolled out yet");
        put("next", "–", "");
        put("previous", "–", "");
        put("workers", workers.length, "");
        return;
      }
      const active = versions.find((one) => one.version === now.active);
      put(
        "active",
        now.active ? `version ${now.active}` : "–",
        now.pinned
          ? `pinned: ${now.reason}`
          : active
            ? `since ${moment(active.activated_us / 1000)}, step ${count(active.step)}`
            : "",
      );
      const next = now.canary
        ? [
            `version ${now.canary.version}`,
            `canary on ${now.canary.workers.join(", ")} until ${moment(now.canary.until_us / 1000)}`,
          ]
        : now.staged
          ? [`version ${now.staged}`, "workers make it ready"]
          : ["none", now.pinned ? "newer versions wait" : "the next checkpoint starts a rollout"];
      put("next", ...next);
      put("previous", now.previous ? `version ${now.previous}` : "–", "still mapped: going back is a flip");
      const serving = workers.filter(
        (one) => one.state === "serving" || one.state.startsWith("staged") || one.state === "canary",
      );
      const rest = workers.filter((one) => one.state !== "left" && !serving.includes(one));
      put(
        "workers",
        `${serving.length} serve`,
        rest.length ? rest.map((one) => `${one.worker} ${one.state}`).join(", ") : "all follow the rollout",
      );
    },
  };
}

export function makeShares() {
  const made = panel("Shares of the keys", "which model answers which part");
  const bar = h("div.shares");
  const under = h("p.muted.small");
  made.body.append(bar, under);
  made.node.hidden = true;
  return {
    node: made.node,
    show(snapshot) {
      const canaries = state.models.filter((one) => one.role === "canary");
      const shadows = state.models.filter((one) => one.role === "shadow");
      made.node.hidden = state.models.length < 2;
      if (made.node.hidden) return;
      const error = (name) => snapshot?.models?.find((one) => one.model === name)?.score?.window;
      const parts = [state.models[0], ...canaries];
      const said = JSON.stringify(parts.map((one) => [one.model, one.share, error(one.model)?.toPrecision(3)]));
      if (bar.dataset.said === said) return;
      bar.dataset.said = said;
      replace(
        bar,
        parts.map((one) =>
          h(
            "div",
            { class: one.role, style: { width: `${one.share * 100}%` }, title: one.model },
            `${one.model} · ${number(one.share * 100)} %`,
          ),
        ),
      );
      text(
        under,
        `${parts
          .concat(shadows)
          .map((one) => `${one.model}: ${one.role}, error ${number(error(one.model))}`)
          .join(" · ")}. Shares stand in pipeline.yaml; a key always goes to the same model.`,
      );
    },
  };
}
