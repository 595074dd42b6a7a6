// The views, in the order of the menu. Each is loaded when it is first shown: `mount(root, {follow, onLeave, rest})`.

export const VIEWS = [
  { id: "now", name: "Now", key: "1", load: () => import("./now/view.js") },
  { id: "models", name: "Models", key: "2", load: () => import("./models/view.js") },
  { id: "predict", name: "Predict", key: "3", load: () => import("./predict.js") },
  { id: "playground", name: "Playground", key: "4", load: () => import("./playground.js") },
  { id: "learning", name: "Learning", key: "5", load: () => import("./learning/view.js") },
  { id: "labelling", name: "Labelling", key: "6", load: () => import("./labelling/view.js") },
  { id: "data", name: "Data", key: "7", load: () => import("./data/view.js") },
  { id: "drift", name: "Drift and alerts", key: "8", load: () => import("./drift/view.js") },
  { id: "rules", name: "Rules", key: "9", load: () => import("./rules.js") },
];
