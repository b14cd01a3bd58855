// What the page asks the job, and in whose name.

const NAME = "dig-ingest-person";

/** An answer that is an error of the job: what, and what can be done. */
export class Refusal extends Error {
  constructor(status, error) {
    super(error.what ?? `the job answered ${status}`);
    this.status = status;
    this.code = error.code ?? "";
    const place = error.field ? `${error.field}${error.value ? ` "${error.value}"` : ""}: ` : "";
    this.what = `${place}${error.what ?? `the job answered ${status}`}`;
    this.remedy = error.remedy ?? "";
  }
}

/** Who acts, where no login says so. */
export const person = {
  get name() {
    try {
      return localStorage.getItem(NAME) ?? "";
    } catch {
      return this.kept ?? "";
    }
  },
  set name(name) {
    this.kept = name;
    try {
      localStorage.setItem(NAME, name);
    } catch {
      // Without storage the name lives as long as the page.
    }
  },
};

async function asked(path, options = {}) {
  const headers = { ...options.headers };
  if (person.name) headers["dig-person"] = encodeURIComponent(person.name);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Refusal(0, { code: "away", what: "the job does not answer", remedy: "check that it runs; the page asks again by itself" });
  }
  return answer;
}

async function refusal(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // Not JSON: the status says all there is.
  }
  if (answer.status === 401) window.dispatchEvent(new Event("login-needed"));
  return new Refusal(answer.status, body.error ?? {});
}

/** A text, such as `/metrics`. */
export async function text(path) {
  const answer = await asked(path);
  if (!answer.ok) throw await refusal(answer);
  return answer.text();
}

/** JSON. `also`: statuses that are answers and no errors. */
export async function get(path, also = []) {
  const answer = await asked(path);
  if (!answer.ok && !also.includes(answer.status)) throw await refusal(answer);
  return answer.json();
}

export async function post(path, body, also = []) {
  const raw = body instanceof Blob;
  const options = { method: "POST" };
  if (body !== undefined) options.body = raw ? body : JSON.stringify(body);
  options.headers = { "content-type": raw ? "text/csv" : "application/json" };
  const answer = await asked(path, options);
  if (!answer.ok && !also.includes(answer.status)) throw await refusal(answer);
  return answer.json();
}
