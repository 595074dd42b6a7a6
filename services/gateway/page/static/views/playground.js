// Playground: following the predictions by server-sent events, as a program of yours would, and sending records.

import { base, get, post, state } from "../core/api.js";
import { command, empty, field, h, panel, replace, text } from "../core/dom.js";
import { clock, count, json, rate } from "../core/format.js";
import { action, failed, toast } from "../core/notify.js";

const SHOWN = 60;

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Playground"),
        h(
          "p",
          "The stream of predictions as your programs get it: server-sent events, which go on after a lost " +
            "connection without missing or repeating one.",
        ),
      ),
    ),
  );
  const follow = panel("Follow"),
    stream = panel("Events", "not connected"),
    put = panel("Send", "a record by hand, as a producer would");
  root.append(h("div.grid", h("div.w4", follow.node), h("div.w8", stream.node)), put.node);
  const what = h(
    "select",
    h("option", { value: "predictions" }, "predictions"),
    state.shadows ? h("option", { value: "shadows" }, "shadows") : null,
  );
  const from = h(
    "select",
    h("option", { value: "latest" }, "now on (latest)"),
    h("option", { value: "earliest" }, "the beginning (earliest)"),
  );
  const keys = h("input", { type: "text", placeholder: "all; or a, b, c", autocomplete: "off" });
  const model = h(
    "select",
    h("option", { value: "" }, "every model"),
    state.models.map((one) => h("option", { value: one.model }, one.model)),
  );
  const curl = h("div");
  const live = { source: null, total: 0, times: [], id: "", timer: null, waiting: [] };
  const list = h("div.records", { tabIndex: 0, role: "log", ariaLabel: "Events", ariaLive: "off" });
  const facts = h("span.muted.small", { id: "playground-facts" });

  const path = () => {
    const query = new URLSearchParams();
    if (from.value !== "latest") query.set("from", from.value);
    for (const key of keys.value
      .split(",")
      .map((one) => one.trim())
      .filter(Boolean))
      query.append("key", key);
    if (model.value) query.set("model", model.value);
    const said = query.toString();
    return `${base()}/${what.value}${said ? `?${said}` : ""}`;
  };
  const showCurl = () => replace(curl, h("h3", "By command"), command(`curl -N '${location.origin}${path()}'`));

  function start() {
    stop();
    replace(stream.body, list);
    list.replaceChildren();
    Object.assign(live, { total: 0, times: [], id: "", waiting: [] });
    live.source = new EventSource(path());
    live.source.onopen = () => stream.note("connected");
    live.source.onerror = () =>
      stream.note(
        live.source?.readyState === EventSource.CLOSED
          ? "refused: is the role gateway's topic there?"
          : "lost; it goes on after the last id",
      );
    live.source.addEventListener("prediction", (event) => {
      live.total += 1;
      live.id = event.lastEventId;
      live.times.push(performance.now());
      live.waiting.push(event);
      if (live.waiting.length > SHOWN) live.waiting.shift();
    });
    for (const name of ["dropped", "closed", "error"])
      live.source.addEventListener(name, (event) => {
        if (event.data) note(name, event.data);
      });
    live.timer = setInterval(draw, 250);
    text(go, "Stop");
  }

  function note(name, data) {
    list.prepend(h("div.record", h("span.badge.warn", name), h("pre", data)));
  }

  // A fast stream would fill the page: what came is drawn four times a second, the newest first.
  function draw() {
    const rows = live.waiting.splice(0).map((event) => {
      const one = JSON.parse(event.data);
      const node = h(
        "div.record",
        { onclick: () => node.classList.toggle("whole") },
        h("span.muted", clock(one.at_us / 1000)),
        h("span.muted", `version ${one.version}`),
        h("span.key-b", { title: one.key }, one.key),
        h("pre", json(one.prediction)),
      );
      return node;
    });
    list.prepend(...rows.reverse());
    while (list.childElementCount > SHOWN) list.lastChild.remove();
    const now = performance.now();
    live.times = live.times.filter((at) => now - at < 5000);
    text(facts, `${count(live.total)} received · ${rate(live.times.length / 5)} /s · Last-Event-ID ${live.id || "–"}`);
  }

  function stop() {
    live.source?.close();
    clearInterval(live.timer);
    live.source = null;
    text(go, "Connect");
    stream.note("not connected");
  }

  const go = h("button.main", { type: "button", onclick: () => (live.source ? stop() : start()) }, "Connect");
  for (const one of [what, from, keys, model])
    one.addEventListener("input", () => {
      showCurl();
      if (live.source) start();
    });
  follow.body.append(
    h(
      "div.form",
      field("Stream", what).node,
      field("From", from).node,
      field("Keys", keys, "comma-separated").node,
      field("Model", model).node,
    ),
    h("div.buttons", { style: { margin: "14px 0" } }, go),
    curl,
  );
  stream.tools.append(facts);
  replace(
    stream.body,
    empty(
      "Not connected",
      "Press Connect. Every event's id is a position; a client that sends it as Last-Event-ID goes on " +
        "after that event.",
    ),
  );
  stream.body.classList.add("flush");
  showCurl();
  page.onLeave(stop);
  mountSend(put);
}

function mountSend(put) {
  const kind = h("select", h("option", { value: "events" }, "event"), h("option", { value: "labels" }, "label"));
  const body = h("textarea", { rows: 7, spellcheck: false, placeholder: "{ … } or [ {…}, {…} ]" });
  const said = h("div", { role: "status" });
  const example = action("Take the newest one", async () => {
    const { records } = await get(`${base()}/topics/${kind.value}/records?last=1`);
    if (!records.length) throw new Error("none is on the topic yet");
    body.value = JSON.stringify(records[0].value, null, 2);
  });
  const go = action(
    "Send",
    async () => {
      let content;
      try {
        content = JSON.parse(body.value);
      } catch (error) {
        throw new Error(`not JSON: ${error.message}`);
      }
      try {
        const done = await post(`${base()}/${kind.value}`, content);
        const bad = done.rejected ?? [];
        replace(
          said,
          h(
            `div.notice${bad.length ? ".warn" : ""}`,
            h(
              "div.text",
              `${count(done.accepted)} accepted by the broker`,
              bad.map((one) => h("div", `record ${one.index}: ${one.reason}`)),
            ),
          ),
        );
        toast(`${count(done.accepted)} sent`);
      } catch (error) {
        replace(said, h("div.notice.bad", h("div.text", error.message)));
        failed(error);
      }
    },
    "button.main",
  );
  put.body.append(
    h("div.grid", h("div.w4", field("Kind", kind).node), h("div.w8", field("Record, as JSON", body).node)),
    h("div.buttons", { style: { margin: "12px 0" } }, go, example),
    said,
  );
}
