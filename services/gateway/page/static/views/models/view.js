// Models: what is served, rollouts as they happen, versions, workers, and what an operator may do.

import { base, post, state } from "../../core/api.js";
import { dialog, empty, field, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { bytes, count, many, moment, number, seconds, short } from "../../core/format.js";
import { action, confirm, failed, toast } from "../../core/notify.js";
import { openLineage } from "./lineage.js";
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

function outcome(done, told) {
  const left = done.workers.filter((one) => one.version !== done.version && !done.canaries.length);
  if (done.done && done.canaries.length) toast(`${told}: ${done.canaries.join(", ")} on version ${done.version}`);
  else if (done.done)
    toast(
      `${told}: ${many(done.workers.length, "worker")} on version ${done.version}${done.pinned ? ", pinned" : ""}, ${seconds(done.took_ms / 1000)}`,
    );
  else
    failed(
      new Error(
        `Told, but not every worker follows yet: ${left.map((one) => `${one.worker} serves ${one.version} ${one.error}`).join("; ")}`,
      ),
    );
}

function chooseVersion(versions, view, carryOut, wanted) {
  const able = versions.filter(
    (one) => !["refused", "published", "staging"].includes(one.state.split(" ")[0]) && one.version !== view.active,
  );
  const select = h(
    "select",
    h("option", { value: 0 }, `the one before the active one${view.previous ? ` (${view.previous})` : ""}`),
    able.map((one) =>
      h(
        "option",
        { value: one.version, selected: one.version === wanted },
        `${one.version} · ${one.state} · ${moment(one.published_us / 1000)}${one.metrics.error !== undefined ? ` · error ${number(one.metrics.error)}` : ""}`,
      ),
    ),
  );
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever asks later" });
  const go = action(
    "Roll back",
    async () => {
      made.close();
      await carryOut({ version: Number(select.value), reason: reason.value || "rolled back on the page" });
    },
    "button.danger",
  );
  const made = dialog(
    "Roll back",
    [
      h(
        "p",
        `Every worker serves the version that you choose, and stays there until you resume. Version ${view.active} serves now.`,
      ),
      field("Version", select).node,
      field("Reason", reason).node,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

function deployVersion(versions, view, carryOut, wanted) {
  const able = versions.filter((one) => one.version !== view.active && !["refused", "skipped"].includes(one.state));
  const select = h(
    "select",
    able.map((one) =>
      h(
        "option",
        { value: one.version, selected: one.version === wanted },
        `${one.version} · ${one.state} · ${moment(one.published_us / 1000)}`,
      ),
    ),
  );
  const share = h("input", {
    type: "range",
    min: 0,
    max: 90,
    step: 5,
    value: 0,
    ariaLabel: "Share of the workers, in percent",
  });
  const said = h("output", "all workers");
  share.addEventListener("input", () => {
    said.textContent = Number(share.value) ? `${share.value} % of the workers first` : "all workers";
  });
  const reason = h("input", { type: "text", maxLength: 400, placeholder: "for whoever asks later" });
  const go = action(
    "Deploy",
    async () => {
      made.close();
      await carryOut({
        version: Number(select.value),
        canary_share: Number(share.value) / 100,
        reason: reason.value || "deployed on the page",
      });
    },
    "button.main",
  );
  go.disabled = !able.length;
  const made = dialog(
    "Deploy a version",
    [
      h(
        "p",
        "A version that is held or newer is served: on a share of the workers first, as canaries, until it is deployed without a share, or everywhere at once.",
      ),
      field("Version", select).node,
      h("div.field", h("span.name", "Canaries"), h("div.buttons", share, said)),
      field("Reason", reason).node,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
}

function makeCard() {
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

function makeShares() {
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

function makeVersions() {
  const made = panel("Versions", "the newest first");
  made.body.classList.add("flush");
  const list = table(
    [
      { name: "Version", num: true },
      { name: "State" },
      { name: "Published" },
      { name: "To all workers", num: true },
      { name: "Error", num: true },
      { name: "Loss", num: true },
      { name: "Examples", num: true },
      { name: "Size", num: true },
      { name: "Travelled", num: true },
      { name: "Checkpoint" },
      { name: "" },
    ],
    { label: "Versions", tight: true },
  );
  const nothing = empty(
    "No version yet",
    "The trainer publishes one after its first examples: it needs events and their labels.",
  );
  made.body.append(list.node, nothing);
  let lineage = () => {},
    rollBack = () => {},
    active = 0;
  const kinds = {
    active: "hi",
    pinned: "hi",
    canary: "warn",
    staging: "warn",
    refused: "bad",
    "taken back": "bad",
    "rolled back": "bad",
    retired: "bad",
  };
  const rows = new Rows(list.body, (item) => {
    const cells = [
      "td.num",
      "td.keep",
      "td.keep",
      "td.num",
      "td.num",
      "td.num",
      "td.num",
      "td.num",
      "td.num",
      "td.mono",
    ].map((one) => h(one));
    const badge = h("span.badge");
    cells[1].append(badge);
    const back = h(
      "button.small.quiet",
      { type: "button", onclick: () => rollBack(item.version), ariaLabel: `Go back to version ${item.version}` },
      "Go back",
    );
    const why = h(
      "button.small.quiet",
      { type: "button", onclick: () => lineage(item.version), ariaLabel: `Lineage of version ${item.version}` },
      "Lineage",
    );
    return {
      node: h("tr", cells, h("td.num", back, why)),
      update(one) {
        text(cells[0], one.version);
        text(badge, one.state);
        badge.className = `badge ${kinds[one.state] ?? ""}`;
        badge.title = one.reason;
        text(cells[2], moment(one.published_us / 1000));
        text(cells[3], one.activate_ms === null ? "–" : seconds(one.activate_ms / 1000));
        text(cells[4], number(one.metrics.error));
        text(cells[5], number(one.metrics.loss));
        text(cells[6], count(one.metrics.examples));
        text(cells[7], one.size ? bytes(one.size) : "–");
        text(cells[8], one.pulled === null ? "–" : bytes(one.pulled));
        text(cells[9], short(one.checkpoint));
        cells[9].title = one.checkpoint;
        back.hidden = one.version === active || ["refused", "staging", "published"].includes(one.state);
      },
    };
  });
  return {
    node: made.node,
    onLineage: (fn) => {
      lineage = fn;
    },
    onRollBack: (fn) => {
      rollBack = fn;
    },
    show(versions, view) {
      active = view?.active ?? 0;
      nothing.hidden = versions.length > 0;
      list.node.hidden = !versions.length;
      rows.show(versions.slice(0, 25), (one) => one.version);
    },
  };
}

function makeWorkers() {
  const made = panel("Workers", "who answers with which version");
  made.body.classList.add("flush");
  const list = table(
    [
      { name: "Worker" },
      { name: "Role" },
      { name: "Host" },
      { name: "Agent" },
      { name: "Serves", num: true },
      { name: "Is to serve", num: true },
      { name: "State" },
      { name: "Age of its weights", num: true },
      { name: "Heard of", num: true },
      { name: "Last fault" },
    ],
    { label: "Workers", tight: true },
  );
  made.body.append(list.node);
  const rows = new Rows(list.body, () => {
    const cells = ["td", "td", "td", "td", "td.num", "td.num", "td.keep", "td.num", "td.num", "td.cut"].map((one) =>
      h(one),
    );
    const badge = h("span.badge");
    cells[6].append(badge);
    return {
      node: h("tr", cells),
      update(one) {
        [one.worker, one.role, one.host, one.agent, one.version, one.meant].forEach((value, i) =>
          text(cells[i], value),
        );
        text(badge, one.state);
        badge.className = `badge ${one.state === "serving" ? "good" : one.state.startsWith("staged") || one.state === "canary" ? "hi" : ["left", "silent"].includes(one.state) ? "" : "warn"}`;
        text(cells[7], seconds(one.age_s));
        text(cells[8], `${seconds(one.heard_s)} ago`);
        text(cells[9], one.error || "–");
        cells[9].title = one.error;
      },
    };
  });
  return {
    node: made.node,
    show(workers, agents) {
      made.note(
        agents.length
          ? `${many(agents.length, "agent")}: ${agents.map((one) => `${one.agent} on ${one.host}, ${bytes(one.from_store)} from stores`).join("; ")}`
          : "who answers with which version",
      );
      rows.show(workers, (one) => one.worker);
    },
  };
}
