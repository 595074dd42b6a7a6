// Requests to the gateway. Every error of it is {"error": "..."}; here it is thrown with that text.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const state = { pipeline: "", models: [], description: "", task: "", shadows: false, version: "" };

export const base = () => `/v1/pipelines/${encodeURIComponent(state.pipeline)}`;

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("the gateway does not answer", 0);
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(body?.error ?? `status ${answer.status}`, answer.status);
  return body;
}

export const get = (path) => ask(path, {});

export const send = (method, path, body, headers = {}) =>
  ask(path, { method, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body ?? {}) });

export const post = (path, body) => send("POST", path, body);

export async function begin() {
  const { pipelines, version } = await get("/v1/pipelines");
  const [one] = pipelines;
  Object.assign(state, { pipeline: one.name, ...one, version });
}
