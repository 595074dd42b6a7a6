// The one stream of the page: server-sent events of the sections that the view wants. A changed view opens it anew.

const listeners = new Map(); // section -> Set of functions
const newest = new Map();
let source = null;
let asked = "";
let tell = () => {};
let retry = null;
export const timing = { last: 0 };

export function onState(fn) {
  tell = fn;
}

// Call `fn` with each state of a section, until the function that is returned is called.
export function follow(section, fn) {
  const known = listeners.get(section) ?? new Set();
  listeners.set(section, known);
  known.add(fn);
  if (newest.has(section)) fn(newest.get(section));
  refresh();
  return () => {
    known.delete(fn);
    if (!known.size) {
      listeners.delete(section);
      newest.delete(section);
    }
    refresh();
  };
}

let waiting = false;
function refresh() {
  if (waiting) return;
  waiting = true;
  queueMicrotask(() => {
    waiting = false;
    connect();
  });
}

function connect(again = false) {
  const wanted = [...listeners.keys()]
    .filter((name) => name !== "history")
    .sort()
    .join(",");
  if (!again && wanted === asked && source !== null) return;
  source?.close();
  clearTimeout(retry);
  source = null;
  asked = wanted;
  if (!wanted) return;
  source = new EventSource(`/v1/live?sections=${encodeURIComponent(wanted)}`);
  source.onopen = () => tell("live");
  source.onerror = () => {
    tell("lost");
    if (source?.readyState === EventSource.CLOSED) retry = setTimeout(() => connect(true), 2000);
  };
  for (const name of [...wanted.split(","), "history"]) source.addEventListener(name, hear);
}

function hear(event) {
  let said;
  try {
    said = JSON.parse(event.data);
  } catch {
    return;
  }
  timing.last = performance.now();
  newest.set(event.type, said);
  for (const fn of [...(listeners.get(event.type) ?? [])]) fn(said);
}

document.addEventListener("visibilitychange", () => {
  // A hidden page follows nothing: it costs the gateway nothing.
  if (document.hidden) {
    source?.close();
    source = null;
  } else connect(true);
});
