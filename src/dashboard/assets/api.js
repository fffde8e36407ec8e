// Asking the gateway. Numbers keep the digits they were sent with: what a device said is shown as it said it.

/** The gateway refused, or could not be reached. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** GET of JSON. */
export async function get(path) {
  return ask("GET", path);
}

/** Asks for a change, with a body of JSON where there is something to say; answers JSON, or null where there is none. */
export async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal: AbortSignal.timeout(15_000),
      headers: { accept: "application/json", ...(body && { "content-type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    throw new ApiError(`no answer from the gateway (${error.name})`, 0);
  }
  const text = await response.text();
  if (response.ok) return text ? parse(text) : null;
  let message = `${response.status} ${response.statusText}`;
  try {
    message = JSON.parse(text).error.message;
  } catch {
    // Something between here and the gateway answered; its status has to do.
  }
  throw new ApiError(message, response.status);
}

/** JSON in which a number that JavaScript would round or rewrite stays as it was written. */
export function parse(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && context.source !== String(value) ? JSON.rawJSON(context.source) : value,
  );
}

/** The JSON text of a value from {@link parse}, on one line or indented. */
export function jsonText(value, indent) {
  return JSON.stringify(value, null, indent);
}

/** A payload as `{text, language}`, with JSON indented when `indent` is given. */
export function payloadText(payload, indent) {
  if ("json" in payload) return { text: jsonText(payload.json, indent), language: "json" };
  if ("text" in payload) return { text: payload.text, language: "text" };
  if ("cut" in payload) return { text: payload.cut, language: "text" };
  return { text: payload.base64 ?? "", language: "base64" };
}
