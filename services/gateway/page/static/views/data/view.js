// Data: sets and their versions, imports as they go, profiles drawn, uploads that go on after a lost connection.

import { h } from "../../core/dom.js";
import { makeImport } from "./import.js";
import { openSet } from "./set.js";
import { makeImports, makeSets } from "./tables.js";
import { asked } from "../role.js";

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Data"),
        h(
          "p",
          "Bounded sets with versions that never change: from files, from a range of a topic, or from a " +
            "query. Training, tuning and batch jobs take them as name@version.",
        ),
      ),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const add = makeImport();
  const sets = makeSets(),
    imports = makeImports();
  const detail = h("div.stack");
  holder.append(add.node, imports.node, sets.node, detail);
  sets.onOpen((name, version) => openSet(detail, name, version));
  asked(page, "datasets", "The role datasets", holder, (said) => sets.show(said.datasets));
  page.follow("imports", (said) => {
    if (said.running) imports.show(said.answer.imports);
  });
}
