// Labelling: one item after another by the keyboard; leases, undo, skip, review by a second person, agreement.

import { h } from "../../core/dom.js";
import { personInput } from "../../core/person.js";
import { makeAgreement, makeQueues } from "./tables.js";
import { makeWork } from "./work.js";
import { asked } from "../role.js";

export function mount(root, page) {
  root.append(
    h(
      "div.head",
      h(
        "div",
        h("h1", "Labelling"),
        h(
          "p",
          "What a person says was true becomes a label on the pipeline's topic; the model learns from it " +
            "within seconds.",
        ),
      ),
      h("span.grow"),
      h(
        "div.field",
        h("span.name", "You are"),
        personInput(() => work.next()),
      ),
    ),
  );
  const holder = h("div.stack");
  root.append(holder);
  const queues = makeQueues(),
    work = makeWork(page),
    agreement = makeAgreement();
  holder.append(work.node, queues.node, agreement.node);
  queues.onOpen((queue) => {
    work.open(queue);
    agreement.open(queue);
  });
  asked(page, "queues", "The role labelling", holder, (said) => {
    queues.show(said.queues);
    const wanted = page.rest[0];
    const first =
      said.queues.find((one) => one.name === wanted) ?? said.queues.find((one) => one.open > 0) ?? said.queues[0];
    if (first && !work.queue) {
      work.open(first.name);
      agreement.open(first.name);
    }
    work.changed(said);
    agreement.changed(said);
  });
}
