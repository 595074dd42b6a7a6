// Short messages, and asking before something is done.

import { dialog, h } from "./dom.js";

export function toast(said, kind = "") {
  const node = h(`div.toast${kind ? `.${kind}` : ""}`, said);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), kind === "bad" ? 9000 : 5000);
}

export const failed = (error) => toast(error.message ?? String(error), "bad");

// Ask; resolves to true only where the person says so. `body` explains what will happen.
export function confirm(title, body, action, danger = false) {
  return new Promise((resolve) => {
    let said = false;
    const yes = h(
      danger ? "button.danger" : "button.main",
      {
        type: "button",
        onclick: () => {
          said = true;
          made.close();
        },
      },
      action,
    );
    const no = h("button", { type: "button", onclick: () => made.close() }, "Leave it");
    const made = dialog(title, body, [no, yes]);
    made.node.addEventListener("close", () => resolve(said));
    yes.focus();
  });
}

// A button that shows that its work goes on, and cannot be pressed twice.
export function action(name, work, kind = "button") {
  const button = h(kind, { type: "button" }, name);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await work(button);
    } catch (error) {
      failed(error);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
