// Starting a training job.

import { post, state } from "../../core/api.js";
import { dialog, field, h, replace } from "../../core/dom.js";
import { action, toast } from "../../core/notify.js";

export function startJob() {
  const data = h(
    "select",
    { name: "data" },
    h("option", { value: "topic" }, "examples on the topic"),
    state.has_source ? h("option", { value: "source" }, "what the source replays") : null,
    h("option", { value: "datasets" }, "data sets"),
  );
  const sets = h("input", { type: "text", placeholder: "rides@3, more@1", autocomplete: "off" });
  const input = (value, more = {}) => h("input", { type: "text", inputMode: "decimal", value, ...more });
  const [limit, epochs, validation, test, patience, learning, batch] = [
    input("", { placeholder: "all" }),
    input("5"),
    input("0.1"),
    input("0.1"),
    input("0"),
    input("", { placeholder: "the pipeline's" }),
    input("", { placeholder: "the pipeline's" }),
  ];
  const further = h("textarea", { rows: 3, placeholder: '{"clip_norm": 1.0}', spellcheck: false });
  const options = h("input", { type: "text", placeholder: "rate=2000, seed=3" });
  const model = h(
    "select",
    state.models.map((one, i) => h("option", { value: i ? one.model.split(".").pop() : "" }, one.model)),
  );
  const over = h("input", { type: "checkbox" });
  const limitField = field("Examples", limit, "the first so many; of the source only"),
    optionsField = field("Source's options", options, "name=value, by commas");
  const setsField = field("Sets", sets, "name@version, by commas");
  const fit = () => {
    limitField.node.hidden = optionsField.node.hidden = data.value !== "source";
    setsField.node.hidden = data.value !== "datasets";
  };
  data.addEventListener("change", fit);
  fit();
  const problem = h("div", { role: "alert" });
  const go = action(
    "Start",
    async () => {
      const settings = further.value.trim() ? JSON.parse(further.value) : {};
      if (learning.value) settings.learning_rate = Number(learning.value);
      if (batch.value) settings.batch_size = Number(batch.value);
      const body = {
        data: data.value,
        model: model.value,
        epochs: Number(epochs.value),
        validation: Number(validation.value),
        test: Number(test.value),
        patience: Number(patience.value),
        settings,
        hand_over: over.checked,
      };
      if (data.value === "source") {
        if (limit.value) body.limit = Number(limit.value);
        body.options = options.value
          .split(",")
          .map((one) => one.trim())
          .filter(Boolean);
      }
      if (data.value === "datasets")
        body.datasets = sets.value
          .split(",")
          .map((one) => one.trim())
          .filter(Boolean);
      try {
        const job = await post("/v1/training/jobs", body);
        toast(`Job ${job.id.slice(0, 6)} is ${job.state}`);
        made.close();
      } catch (error) {
        replace(problem, h("div.notice.bad", h("div.text", error.message)));
      }
    },
    "button.main",
  );
  const made = dialog(
    "Start a training job",
    [
      h(
        "div.form",
        field("Examples from", data).node,
        setsField.node,
        limitField.node,
        optionsField.node,
        field("Model", model).node,
        field("Epochs", epochs).node,
        field("Validation share", validation, "chooses the best epoch").node,
        field("Test share", test, "for the report alone").node,
        field("Patience", patience, "epochs without a better one; 0: never").node,
        field("Learning rate", learning).node,
        field("Batch size", batch).node,
      ),
      field("Further settings of training, as JSON", further).node,
      h("label.check", over, h("span", "Hand over: publish the result; the live trainer goes on from it")),
      problem,
    ],
    [h("button", { type: "button", onclick: () => made.close() }, "Leave it"), go],
  );
  data.focus();
}
