// Charts on canvas.

export { Bars, Spark } from "./charting/bars.js";
export { Lines } from "./charting/lines.js";
export { colour, themeChanged } from "./charting/paper.js";
