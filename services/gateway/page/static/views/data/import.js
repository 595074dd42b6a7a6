// New versions: a file that is uploaded in parts, a range of a topic, or a query over other sets.

import { post, Refused, state } from "../../core/api.js";
import { field, h, panel, replace, text } from "../../core/dom.js";
import { bytes, seconds } from "../../core/format.js";
import { action, toast } from "../../core/notify.js";

const PART = 4 << 20;
const KINDS = [
  ["upload", "a file"],
  ["topic", "a topic"],
  ["query", "a query"],
];

export function makeImport() {
  const made = panel("New version", "CSV, Excel, Parquet or JSON lines; a range of a topic; a query over sets");
  let kind = "upload",
    upload = null;
  const choice = h(
    "div.segments",
    { role: "group", ariaLabel: "From" },
    KINDS.map(([id, name]) =>
      h("button", { type: "button", ariaPressed: String(id === kind), onclick: () => choose(id) }, name),
    ),
  );
  made.tools.append(choice);
  const name = h("input", { type: "text", placeholder: "rides-2026", pattern: "[a-z0-9][a-z0-9._-]*" });
  const as = h(
    "select",
    [
      ["", "rows, unchecked"],
      ["events", "events of the pipeline"],
      ["labels", "labels of the pipeline"],
      ["examples", "examples: events with labels"],
    ].map(([value, said]) => h("option", { value }, said)),
  );
  const input = (placeholder) => h("input", { type: "text", placeholder });
  const [key, time, licence, sheet, encoding, zone, bad] = [
    input("the pipeline's"),
    input("none"),
    input("none"),
    input("the first"),
    input("found out"),
    input("UTC"),
    h("input", { type: "number", min: 0, value: 0 }),
  ];
  const delimiter = h(
    "select",
    [
      ["", "found out"],
      [",", "comma"],
      [";", "semicolon"],
      ["\t", "tab"],
      ["|", "bar"],
    ].map(([value, said]) => h("option", { value }, said)),
  );
  const decimal = h(
    "select",
    [
      ["", "point"],
      [",", "comma"],
    ].map(([value, said]) => h("option", { value }, said)),
  );
  const dates = h(
    "select",
    [
      ["", "ISO 8601"],
      ["day-first", "day first"],
      ["month-first", "month first"],
    ].map(([value, said]) => h("option", { value }, said)),
  );
  const [topic, start, end] = [
    h(
      "select",
      ["examples", "events", "labels", "predictions"].map((one) =>
        h("option", { value: `${state.pipeline}.${one}` }, `${state.pipeline}.${one}`),
      ),
    ),
    input("earliest"),
    input("latest"),
  ];
  const sql = h("textarea", { rows: 4, placeholder: "select * from a where distance_km < 30", spellcheck: false });
  const sets = h("textarea", { rows: 2, placeholder: '{"a": "rides@3"}', spellcheck: false });
  const problem = h("div", { role: "alert" });
  const drop = makeDrop((done) => {
    upload = done;
    if (!name.value && done)
      name.value = done.filename
        .replace(/\.[^.]*$/, "")
        .toLowerCase()
        .replace(/[^a-z0-9._-]+/g, "-")
        .replace(/^[^a-z0-9]+/, "");
  });
  const format = h(
    "details.all",
    h("summary", "How the file is read"),
    h(
      "div.form",
      { style: { marginTop: "12px" } },
      field("Delimiter", delimiter).node,
      field("Decimals", decimal).node,
      field("Dates", dates).node,
      field("Zone of times without one", zone).node,
      field("Encoding", encoding).node,
      field("Sheet", sheet).node,
    ),
  );
  const parts = {
    upload: [drop.node, format],
    topic: [
      h(
        "div.form.all",
        field("Topic", topic).node,
        field("From", start, "earliest, a time, or 0:12,1:3").node,
        field("To", end, "not included").node,
      ),
    ],
    query: [
      h("div.all", field("Query", sql, "read-only SQL of DuckDB").node),
      h("div.all", field("Sets by name", sets).node),
    ],
  };
  const place = h("div.form");
  const go = action("Make the set", start_, "button.main");
  made.body.append(
    place,
    h(
      "div.form",
      { style: { marginTop: "14px" } },
      field("Set", name, "a new name, or the next version of one").node,
      field("Checked as", as, "row by row").node,
      field("Key", key).node,
      field("Time", time).node,
      field("Licence", licence).node,
      field("Bad rows allowed", bad).node,
    ),
    problem,
    h("div.buttons", { style: { marginTop: "14px" } }, go),
  );

  function choose(id) {
    kind = id;
    [...choice.children].forEach((button, i) => button.setAttribute("aria-pressed", String(KINDS[i][0] === id)));
    replace(place, parts[id]);
  }

  function from() {
    if (kind === "upload") {
      if (!upload) throw new Error("choose a file first");
      return { upload: upload.id };
    }
    if (kind === "topic") return { topic: topic.value, start: start.value || "earliest", end: end.value || "latest" };
    return { query: sql.value, sets: sets.value.trim() ? JSON.parse(sets.value) : {} };
  }

  async function start_() {
    replace(problem);
    try {
      if (!name.value) {
        name.focus();
        throw new Error("the set needs a name");
      }
      const body = {
        from: from(),
        as: as.value,
        metadata: licence.value ? { licence: licence.value } : {},
        max_bad_rows: Number(bad.value),
      };
      const told = {
        delimiter: delimiter.value,
        encoding: encoding.value,
        sheet: sheet.value,
        decimal: decimal.value,
        dates: dates.value,
        zone: zone.value,
      };
      const format_ = Object.fromEntries(Object.entries(told).filter(([, value]) => value));
      if (kind === "upload" && Object.keys(format_).length) body.format = format_;
      if (key.value) body.key = key.value;
      if (time.value) body.time = time.value;
      await post(`/v1/datasets/${encodeURIComponent(name.value)}/versions`, body);
      toast(`${name.value} is being made`);
      upload = null;
      drop.clear();
    } catch (error) {
      replace(problem, h("div.notice.bad", { style: { marginTop: "12px" } }, h("div.text", error.message)));
    }
  }
  choose("upload");
  return made;
}

// A place to drop a file. It is sent in parts; the same file chosen again goes on where the connection was lost.
function makeDrop(done) {
  const input = h("input", {
    type: "file",
    ariaLabel: "File",
    accept: ".csv,.tsv,.txt,.xlsx,.xls,.xlsb,.ods,.parquet,.jsonl,.ndjson,.json,.gz",
  });
  const bar = h("i"),
    said = h("span.small", { role: "status" });
  const meter = h("span.bar", { hidden: true, style: { width: "min(420px, 100%)" } }, bar);
  const hint = h("span", "Drop a file here, or choose one");
  const node = h("div.drop.all", hint, input, meter, said);
  let running = 0;
  input.addEventListener("change", () => input.files[0] && start(input.files[0]));
  node.addEventListener("dragover", (event) => {
    event.preventDefault();
    node.classList.add("over");
  });
  node.addEventListener("dragleave", () => node.classList.remove("over"));
  node.addEventListener("drop", (event) => {
    event.preventDefault();
    node.classList.remove("over");
    if (event.dataTransfer.files[0]) start(event.dataTransfer.files[0]);
  });

  async function start(file) {
    const turn = (running += 1);
    done(null);
    meter.hidden = false;
    const began = performance.now();
    try {
      const made = await send(file, (offset) => {
        if (turn !== running) throw new Error("another file was chosen");
        bar.style.width = `${file.size ? (100 * offset) / file.size : 100}%`;
        text(said, `${file.name}: ${bytes(offset)} of ${bytes(file.size)}`);
      });
      text(said, `${file.name}: ${bytes(file.size)} uploaded in ${seconds((performance.now() - began) / 1000)}`);
      done({ ...made, filename: file.name });
    } catch (error) {
      text(said, `${file.name}: ${error.message}. Choose it again to go on.`);
    }
  }
  return {
    node,
    clear() {
      input.value = "";
      meter.hidden = true;
      text(said, "");
    },
  };
}

async function send(file, told) {
  const kept = `headrace.upload.${file.name}.${file.size}.${file.lastModified}`;
  let id = localStorage.getItem(kept),
    offset = 0;
  if (id) {
    const answer = await fetch(`/v1/uploads/${id}`);
    if (answer.ok) offset = (await answer.json()).offset;
    else id = null;
  }
  if (!id) {
    ({ id } = await post("/v1/uploads", { filename: file.name, size: file.size }));
    localStorage.setItem(kept, id);
  }
  told(offset);
  let failures = 0;
  while (offset < file.size) {
    try {
      const answer = await fetch(`/v1/uploads/${id}`, {
        method: "PATCH",
        headers: { "Upload-Offset": String(offset), "Content-Type": "application/octet-stream" },
        body: file.slice(offset, offset + PART),
      });
      const said = await answer.json();
      if (answer.status !== 409 && !answer.ok)
        throw new Refused(said.error ?? `status ${answer.status}`, answer.status);
      offset = said.offset ?? Number(answer.headers.get("Upload-Offset"));
      failures = 0;
    } catch (error) {
      if ((error instanceof Refused && error.status < 500) || (failures += 1) > 6) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * failures));
    }
    told(offset);
  }
  localStorage.removeItem(kept);
  return { id };
}
