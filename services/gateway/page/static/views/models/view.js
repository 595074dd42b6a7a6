// Models: what is served, rollouts as they happen, versions, workers, and what an operator may do.

import { base, post, state } from "../../core/api.js";
import { h, panel, replace } from "../../core/dom.js";
import { confirm } from "../../core/notify.js";
import { chooseVersion, deployVersion, outcome } from "./asking.js";
import { makeCard, makeShares } from "./card.js";
import { openLineage } from "./lineage.js";
import { makeVersions, makeWorkers } from "./tables.js";
import { Timelines } from "./timelines.js";

export function mount(root, page) {
  const head = h(
    "div.head",
    h(
      "div",
      h("h1", "Models"),
      h("p", "Which weights serve, how a new version reaches every worker, and going back to an earlier one."),
    ),
  );
  const choice = h("div.segments", { role: "group", ariaLabel: "Model" });
  head.append(h("span.grow"), choice);
  const notice = h("div");
  const shares = makeShares();
  const cards = makeCard();
  const timelines = new Timelines();
  const rollouts = panel("Rollouts, worker by worker", "from publication to the moment each worker serves it");
  rollouts.body.append(timelines.node);
  rollouts.tools.append(timelines.legend);
  const versions = makeVersions();
  const workers = makeWorkers();
  root.append(head, notice, cards.node, shares.node, rollouts.node, versions.node, workers.node);
  let model = page.rest[0] ?? state.models[0]?.model ?? state.pipeline;
  let said = null,
    snapshot = null;

  function show() {
    if (!said) return;
    const names = [...new Set([...state.models.map((one) => one.model), ...said.models.map((one) => one.model)])];
    if (!names.includes(model)) model = names[0];
    choices(names);
    const of = (list) => list.filter((one) => one.model === model);
    const view = of(said.models)[0];
    replace(notice, said.caught_up ? [] : h("div.notice", h("div.text", "Reading what happened before …")));
    cards.show(view, of(said.workers), of(said.versions));
    timelines.show(of(said.timelines), of(said.workers));
    versions.show(of(said.versions), view);
    workers.show(of(said.workers), of(said.agents));
  }

  function choices(names) {
    const key = `${names.join()} ${model}`;
    if (choice.dataset.said === key) return;
    choice.dataset.said = key;
    replace(
      choice,
      names.length > 1
        ? names.map((name) =>
            h(
              "button",
              {
                type: "button",
                ariaPressed: String(name === model),
                onclick: () => {
                  model = name;
                  show();
                  shares.show(snapshot, model);
                },
              },
              name,
            ),
          )
        : [],
    );
  }

  const ask = async (kind, body, told) => {
    const done = await post(`${base()}/models/${encodeURIComponent(model)}/${kind}`, body);
    outcome(done, told);
  };
  cards.actions({
    rollBack: () => chooseVersion(of(said?.versions), view(), (body) => ask("rollback", body, "Rolled back")),
    pin: async () => {
      const now = view();
      if (
        await confirm(
          `Stay at version ${now.active}?`,
          [
            h(
              "p",
              `Every worker of ${model} goes on with version ${now.active}. Training and publishing go on; newer versions wait until you resume.`,
            ),
          ],
          "Pin it",
        )
      )
        await ask("pin", { version: now.active, reason: "pinned on the page" }, "Pinned");
    },
    deploy: () =>
      deployVersion(of(said?.versions), view(), (body) =>
        ask("deploy", body, body.canary_share ? "On canaries" : "Deployed"),
      ),
    resume: async () => {
      await ask("resume", { reason: "resumed on the page" }, "Resumed");
    },
  });
  const view = () => said?.models.find((one) => one.model === model) ?? { active: 0 };
  const of = (list) => (list ?? []).filter((one) => one.model === model);
  versions.onLineage((version) => openLineage(model, version));
  versions.onRollBack((version) =>
    chooseVersion(of(said.versions), view(), (body) => ask("rollback", body, "Rolled back"), version),
  );
  page.follow("rollouts", (now) => {
    if (now.error) {
      replace(notice, h("div.notice.bad", h("div.text", now.error)));
      return;
    }
    said = now;
    show();
  });
  page.follow("flow", (now) => {
    if (now.snapshot) {
      snapshot = now.snapshot;
      shares.show(snapshot, model);
    }
  });
}
