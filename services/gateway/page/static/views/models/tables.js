// The tables of versions and of workers.

import { empty, h, panel, Rows, table, text } from "../../core/dom.js";
import { bytes, count, many, moment, number, seconds, short } from "../../core/format.js";

export function makeVersions() {
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

export function makeWorkers() {
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
