// Dead letters: records that could not be processed, why, and putting them back.

import { base, get, post } from "../../core/api.js";
import { command, dialog, empty, h, pairs, panel, replace, table } from "../../core/dom.js";
import { count, json, moment } from "../../core/format.js";
import { action, confirm, failed, toast } from "../../core/notify.js";

export function mountLetters(root, page) {
  const made = panel("Dead letters", "records that could not be processed");
  made.body.classList.add("flush");
  root.append(made.node);
  const phase = select("Phase", ["", "decode", "features", "forward", "predictions", "join", "train"]);
  const reason = h("input", {
    type: "search",
    placeholder: "reason contains",
    ariaLabel: "Reason contains",
    style: { width: "180px" },
  });
  const chosen = new Set();
  const again = action("Put back", () => putBack(), "button.small");
  made.tools.append(phase, reason, again);
  let found = [],
    seen = null,
    stale = null;

  async function load() {
    const query = new URLSearchParams({ limit: 200, phase: phase.value, reason: reason.value });
    if (!phase.value) query.delete("phase");
    try {
      const said = await get(`${base()}/dead-letters?${query}`);
      found = said.letters;
      show(said);
    } catch (error) {
      failed(error);
    }
  }

  function show(said) {
    const filtered = phase.value || reason.value;
    made.note(
      said.count
        ? `${count(said.count)} ${said.count === 1 ? "record" : "records"} that could not be processed`
        : "records that could not be processed",
    );
    again.disabled = !found.length;
    for (const place of [...chosen]) if (!found.some((one) => name(one) === place)) chosen.delete(place);
    if (!found.length) {
      replace(
        made.body,
        filtered
          ? empty("None fits the filter")
          : empty(
              "No dead letters",
              "What cannot be decoded, computed or joined goes here with its original bytes, so that it " +
                "can be put back once the cause is repaired.",
            ),
      );
      return;
    }
    const list = table(
      [
        { name: "" },
        { name: "When" },
        { name: "Record" },
        { name: "Phase" },
        { name: "Reason" },
        { name: "Bytes", num: true },
        { name: "State" },
      ],
      { label: "Dead letters", tight: true },
    );
    list.body.append(...found.map(row));
    replace(made.body, list.node);
  }

  function row(one) {
    const box = h("input", {
      type: "checkbox",
      checked: chosen.has(name(one)),
      ariaLabel: `Choose ${name(one)}`,
      onclick: (event) => event.stopPropagation(),
    });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name(one));
      else chosen.delete(name(one));
    });
    return h(
      "tr.open",
      { onclick: () => whole(one) },
      h("td", box),
      h("td", moment(Date.parse(one.at))),
      h(
        "td.mono",
        h(
          "button.quiet.small",
          {
            type: "button",
            onclick: (event) => {
              event.stopPropagation();
              whole(one);
            },
          },
          `${one.topic} ${one.partition}@${one.offset}`,
        ),
      ),
      h("td", h("span.badge", one.phase)),
      h("td.cut", { title: one.reason }, one.reason),
      h("td.num", count(one.size)),
      h(
        "td",
        one.replayed
          ? h("span.badge.good", "put back")
          : one.attempt
            ? h("span.badge.warn", `failed again, attempt ${one.attempt}`)
            : h("span.badge", "waits"),
      ),
    );
  }

  async function whole(one) {
    try {
      const all = await get(`${base()}/dead-letters/${encodeURIComponent(one.topic)}/${one.letter}`);
      dialog(`Dead letter ${one.topic} ${one.partition}@${one.offset}`, [
        h("div.notice.bad", h("div.text", h("strong", all.error_type ? `${all.error_type}: ` : ""), all.reason)),
        pairs([
          ["Phase", all.phase],
          ["Found by", all.service],
          ["Model", all.model && `${all.model}, version ${all.model_version}`],
          ["When", all.at],
          ["Key", h("code", all.key ?? "none")],
          ["Letter", h("code", `${all.dead_letters} ${all.letter}`)],
        ]),
        h("h3", "The record as it was"),
        h("pre.command", { tabIndex: 0 }, json(all.value, 2) ?? "no value"),
        Object.keys(all.headers).length ? pairs(Object.entries(all.headers)) : null,
        h("p.muted.small", "The original bytes: ", command(`headrace dlq show ${one.topic} ${one.letter} --raw`)),
      ]);
    } catch (error) {
      failed(error);
    }
  }

  async function putBack() {
    const some = found.filter((one) => chosen.has(name(one)));
    const byTopic = new Map();
    for (const one of some.length ? some : found)
      byTopic.set(one.topic, [...(byTopic.get(one.topic) ?? []), one.letter]);
    const asked = [...byTopic].map(([topic, places]) => [
      topic,
      some.length ? { places } : { phase: phase.value || null, reason: reason.value },
    ]);
    const plans = await Promise.all(
      asked.map(([topic, body]) =>
        post(`${base()}/dead-letters/${encodeURIComponent(topic)}/replay`, { ...body, dry_run: true }),
      ),
    );
    const fresh = plans.reduce((sum, one) => sum + one.fresh, 0);
    const lines = plans.map((one) =>
      h(
        "li",
        h("strong", one.topic),
        `: ${count(one.fresh)} will be put back, ${count(one.already_replayed)} were already`,
      ),
    );
    if (!fresh) {
      toast("All of these were put back already: a record is never put back twice.");
      return;
    }
    const yes = await confirm(
      "Put dead letters back?",
      [
        h("ul", lines),
        h(
          "p.muted",
          "Each record goes back on its topic and partition, once. Repair what made it fail first, or it " +
            "comes here again.",
        ),
      ],
      `Put ${count(fresh)} back`,
    );
    if (!yes) return;
    for (const [topic, body] of asked) {
      const done = await post(`${base()}/dead-letters/${encodeURIComponent(topic)}/replay`, body);
      toast(`${count(done.replayed)} put back on ${done.topic}`);
    }
    chosen.clear();
    await load();
  }

  phase.addEventListener("change", load);
  let typing;
  reason.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(load, 300);
  });
  page.onLeave(() => {
    clearTimeout(typing);
    clearTimeout(stale);
  });
  page.follow("kafka", (said) => {
    const sum = (said.topics ?? [])
      .filter((one) => one.topic.endsWith(".dlq"))
      .map((one) => one.newest.reduce((a, b) => a + b, 0))
      .join();
    if (said.topics && sum !== seen && stale === null) {
      seen = sum;
      stale = setTimeout(() => {
        stale = null;
        load();
      }, 50);
    }
  });
}

const name = (one) => `${one.topic} ${one.letter}`;

function select(label, values) {
  return h(
    "select",
    { ariaLabel: label, style: { width: "auto" } },
    values.map((value) => h("option", { value }, value || "every phase")),
  );
}
