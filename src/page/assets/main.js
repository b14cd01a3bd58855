// The page's frame: which part is shown, how the job is, who acts, light or dark.

import { ask, h, put, say, toast, trouble } from "./dom.js";
import { get, person, post } from "./ask.js";
import * as devices from "./devices.js";
import * as letters from "./letters.js";
import * as now from "./now.js";
import * as orders from "./orders.js";

const PARTS = { now, devices, orders, letters };
const THEME = "dig-ingest-theme";
const EVERY = 2000;

const main = document.getElementById("main");
const health = document.getElementById("health");
const lost = document.getElementById("lost");
const who = document.getElementById("person");

let session = { token_needed: false, who: null };
let shown = null;

/** `#orders/1042?x=y` as part, rest and query. */
function place() {
  const [path, query] = location.hash.slice(1).split("?");
  const [part, ...rest] = path.split("/").map((piece) => {
    try {
      return decodeURIComponent(piece);
    } catch {
      return piece;
    }
  });
  return { part: PARTS[part] ? part : "now", rest, query: new URLSearchParams(query ?? "") };
}

function show() {
  if (location.hash === "#main") return main.focus();
  const { part, rest, query } = place();
  shown?.end?.();
  put(main);
  for (const link of document.querySelectorAll(".top nav a")) {
    const here = link.getAttribute("href") === `#${part}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = PARTS[part].open(main, { rest, query, session, named });
  const heading = main.querySelector("h1");
  // What had the focus may be gone: reading goes on at the new content.
  if (document.activeElement === document.body) main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  document.title = `${heading ? heading.textContent : part} · dig-ingest`;
  refresh();
}

let asking = false;
let looked = 0;
async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  const view = shown;
  try {
    const status = await get("/status");
    if (Date.now() - looked > 15_000) {
      // A part of the job may have come or gone meanwhile.
      looked = Date.now();
      Object.assign(session, await get("/page/session"));
    }
    lost.hidden = true;
    const state = !status.live ? ["bad", "not live"] : !status.ready ? ["warn", "not ready"] : ["good", "ready"];
    health.className = `pill ${state[0]}`;
    say(health, state[1]);
    await view?.update?.(status);
  } catch (error) {
    if (error.code === "away") {
      health.className = "pill bad";
      say(health, "no answer");
      lost.hidden = false;
      put(lost, `${error.what}: ${error.remedy}`);
    } else if (error.status !== 401) {
      lost.hidden = false;
      put(lost, error.what ?? error.message);
    }
  } finally {
    asking = false;
  }
}

/** The name of who acts; asked for where nobody knows it. */
async function named() {
  if (session.token_needed) return session.who;
  if (!person.name) await askName();
  return person.name || null;
}

async function askName() {
  await ask({
    title: "Who are you?",
    lead: "Your name is written into the audit trail of everything you do here. It stays in this browser.",
    fields: [{ name: "name", label: "Name", value: person.name, required: true, autocomplete: "name" }],
    yes: "Save",
    send: ({ name }) => {
      if (name.length > 60) throw { what: "The name is too long.", remedy: "Give at most 60 characters." };
      person.name = name;
    },
  });
  showPerson();
}

function showPerson() {
  say(who, session.token_needed ? (session.who ? `Log out ${session.who}` : "Log in") : person.name || "Set name");
}

let loggingIn = false;
async function login() {
  if (loggingIn) return;
  loggingIn = true;
  await ask({
    title: "Log in",
    lead: "The page needs a token: one of the file that ops.page.token_file names.",
    fields: [{ name: "token", label: "Token", type: "password", required: true, autocomplete: "current-password" }],
    yes: "Log in",
    send: async ({ token }) => {
      const answer = await fetch("/page/login", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
      });
      if (!answer.ok) throw { what: "This is no token of the page.", remedy: "Copy it whole, without its name." };
    },
  });
  loggingIn = false;
  await begin();
}

async function begin() {
  session = await get("/page/session");
  showPerson();
  show();
  if (session.token_needed && !session.who) login();
}

who.addEventListener("click", async () => {
  if (!session.token_needed) return askName();
  if (!session.who) return login();
  await post("/page/logout");
  toast("Logged out");
  await begin();
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem(THEME, root.dataset.theme);
  } catch {
    // It holds until the page is closed.
  }
});

try {
  const kept = localStorage.getItem(THEME);
  if (kept) document.documentElement.dataset.theme = kept;
} catch {
  // The system's own.
}

window.addEventListener("hashchange", show);
window.addEventListener("login-needed", () => {
  if (session.token_needed) login();
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY);
begin().catch((error) => {
  put(main, h("h1", {}, "dig-ingest"), trouble(error));
  setTimeout(() => location.reload(), 5000);
});
