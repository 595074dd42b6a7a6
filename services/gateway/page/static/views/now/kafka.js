// Kafka: how far each consumer group is behind, by partition; the topics, and the newest records of one.

import { command, empty, h, panel, replace, Rows, table, text } from "../../core/dom.js";
import { clock, count, json, rate } from "../../core/format.js";

export function mountKafka(root, page) {
  const groups = panel("Consumer groups", "records behind, by partition; by committed offsets");
  const topics = panel("Topics", "click one to see its records as they come");
  const tail = panel("Records");
  tail.node.hidden = true;
  root.append(h("div.grid", h("div.w5", groups.node), h("div.w7", topics.node)), tail.node);
  const showGroups = makeGroups(groups);
  const showTopics = makeTopics(topics, (topic) => openTail(tail, topic, page));
  page.follow("kafka", (said) => {
    if (said.error) {
      groups.note(said.error);
      return;
    }
    groups.note("records behind, by partition; by committed offsets");
    showGroups(said.groups);
    showTopics(said.topics);
  });
}

function makeGroups(panelOf) {
  panelOf.body.classList.add("flush");
  const list = table([{ name: "Group and topic" }, { name: "Behind", num: true }, { name: "By partition" }], {
    label: "Consumer groups",
    tight: true,
  });
  const nothing = empty(
    "No group has committed offsets yet",
    "The stream and the join commit with each transaction; they appear after their first.",
  );
  panelOf.body.append(list.node, nothing);
  const rows = new Rows(list.body, () => {
    const [group, topic, lag, cells] = [h("span"), h("span.under"), h("td.num"), h("span.lagcells")];
    return {
      node: h("tr", h("td.mono", group, topic), lag, h("td", cells)),
      update(item) {
        text(group, item.group);
        text(topic, item.topic);
        text(lag, count(item.lag));
        group.title = item.state;
        const said = item.partitions.map((one) => `${one.partition}:${one.lag}`).join();
        if (cells.dataset.said === said) return;
        cells.dataset.said = said;
        replace(
          cells,
          item.partitions.map((one) =>
            h(
              "i",
              {
                class: one.lag > 10000 ? "much" : one.lag > 500 ? "some" : "",
                title: `partition ${one.partition}: ${count(one.lag)} behind, at ${count(one.committed)}`,
              },
              cell(one.lag),
            ),
          ),
        );
      },
    };
  });
  return (groups) => {
    const items = groups.flatMap((group) =>
      [...new Set(group.partitions.map((one) => one.topic))].map((topic) => {
        const partitions = group.partitions.filter((one) => one.topic === topic);
        return {
          group: group.group,
          state: group.state,
          topic,
          partitions,
          lag: partitions.reduce((sum, one) => sum + one.lag, 0),
        };
      }),
    );
    nothing.hidden = items.length > 0;
    rows.show(items, (item) => `${item.group} ${item.topic}`);
  };
}

const cell = (value) =>
  value < 1000 ? value : value < 1e6 ? `${Math.round(value / 1000)}k` : `${Math.round(value / 1e6)}M`;

function makeTopics(panelOf, open) {
  panelOf.body.classList.add("flush");
  const list = table(
    [
      { name: "Topic" },
      { name: "Partitions", num: true },
      { name: "Offsets kept", num: true },
      { name: "Written /s", num: true },
      { name: "" },
    ],
    { label: "Topics", tight: true },
  );
  panelOf.body.append(list.node);
  const rows = new Rows(list.body, (item) => {
    const [name, partitions, kept, speed] = [h("td.mono"), h("td.num"), h("td.num"), h("td.num")];
    const see = () => open(item.topic);
    const button = h(
      "button.small.quiet",
      {
        type: "button",
        onclick: (event) => {
          event.stopPropagation();
          see();
        },
        ariaLabel: `Records of ${item.topic}`,
      },
      "Records",
    );
    return {
      node: h("tr.open", { onclick: see }, name, partitions, kept, speed, h("td.num", button)),
      update(one) {
        const sum = (values) => values.reduce((a, b) => a + b, 0);
        text(name, one.topic);
        text(partitions, one.newest.length);
        text(kept, count(sum(one.newest) - sum(one.oldest)));
        text(speed, one.rate === null ? "–" : rate(one.rate));
        name.classList.toggle("warn", one.topic.endsWith(".dlq") && sum(one.newest) > sum(one.oldest));
      },
    };
  });
  return (topics) => {
    const mine = (one) => (one.topic.startsWith("headrace.") ? 1 : 0);
    rows.show(
      [...topics].sort((a, b) => mine(a) - mine(b) || a.topic.localeCompare(b.topic)),
      (one) => one.topic,
    );
  };
}

let stopTail = () => {};

function openTail(tail, topic, page) {
  stopTail();
  tail.node.hidden = false;
  text(tail.node.querySelector("h2"), `Records of ${topic}`);
  const list = h("div.records", { tabIndex: 0, role: "group", ariaLabel: `Records of ${topic}` });
  const stopped = h("button.small", { type: "button", ariaPressed: "false" }, "Hold");
  let held = false;
  stopped.addEventListener("click", () => {
    held = !held;
    stopped.textContent = held ? "Go on" : "Hold";
    stopped.ariaPressed = String(held);
  });
  const shut = h(
    "button.small.quiet",
    {
      type: "button",
      onclick: () => {
        stopTail();
        stopTail = () => {};
        tail.node.hidden = true;
      },
    },
    "Close",
  );
  replace(tail.tools, stopped, shut);
  replace(tail.body, list);
  tail.body.classList.add("flush");
  const rows = new Rows(list, (record) => ({ node: recordRow(record) }));
  const stop = page.follow(`tail:${topic}`, (said) => {
    if (said.error) {
      tail.note(said.error);
      return;
    }
    if (held) return;
    tail.note(
      said.skipped
        ? `the newest; ${count(said.skipped)} were left out because they came faster than they are read`
        : "the newest first, committed records only",
    );
    if (!said.records.length && !list.childElementCount) {
      replace(
        tail.body,
        list,
        empty("Nothing is on this topic", h("p", "The same by command: "), command(`headrace tail ${topic} --follow`)),
      );
      return;
    }
    if (said.records.length && tail.body.childElementCount > 1) replace(tail.body, list);
    rows.show(said.records, (one) => `${one.partition}:${one.offset}`);
  });
  stopTail = stop;
  page.onLeave(() => {
    stopTail = () => {};
  });
  tail.node.scrollIntoView({ behavior: "smooth", block: "nearest" });
}

export function recordRow(record) {
  const value = h("pre", json(record.value));
  const node = h(
    "div.record",
    { onclick: () => node.classList.toggle("whole") },
    h("span.muted.mono", `${record.partition}@${record.offset}`),
    h("span.muted", clock(record.at_ms)),
    h("span.key-b", { title: record.key ?? "" }, record.key ?? "–"),
    value,
  );
  return node;
}
