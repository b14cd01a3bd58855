// Letters: what could not be sent, in groups with examples, and the commands that repair them.

import { get } from "./ask.js";
import { button, h, put, toast, trouble } from "./dom.js";
import { ago, bytes, clock, number, words } from "./figures.js";

/** A command line for a shell: every argument is quoted, whatever it holds. */
function command(parts) {
  return parts.map((part) => (/^[\w./:=*-]+$/.test(part) && !part.includes("*") ? part : `'${part.replaceAll("'", `'\\''`)}'`)).join(" ");
}

function paste(label, parts) {
  const line = command(parts);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      toast("Copied");
    } catch {
      toast("The browser does not let the page copy: select the text", "warn");
    }
  };
  return h("div", { class: "paste" }, h("span", { class: "muted" }, label), h("code", {}, line), button("Copy", copy, "quiet"));
}

function select(name, label, options, value) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: name }, label),
    h("select", { id: name, name }, options.map((option) => h("option", { value: option, selected: option === value }, words(option)))),
  );
}

function example(letter) {
  return h(
    "details",
    { class: "letter" },
    h("summary", {}, h("strong", {}, letter.reason), h("code", {}, letter.serial ?? letter.name ?? "no serial"), h("span", { class: "muted" }, letter.time_ms ? ago(letter.time_ms) : "")),
    h("p", {}, letter.detail),
    letter.rule ? h("p", { class: "remedy" }, h("b", {}, "The rule: "), letter.rule) : null,
    h(
      "dl",
      { class: "facts" },
      [
        ["Letter", letter.place],
        ["From", letter.source ?? "–"],
        ["Stage", letter.stage || "–"],
        ["Gateway said", [letter.http_status, letter.server_text].filter(Boolean).join(" ") || "–"],
      ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    h("pre", { tabindex: "0" }, letter.value),
    paste("The whole letter", ["dig-ingest", "letters", "show", letter.place]),
  );
}

export function open(root, { query }) {
  const from = query.get("from") ?? "dead-letter";
  const by = query.get("by") ?? "reason";
  const reason = query.get("reason") ?? "";
  const named = query.get("named") ?? "";
  const results = h("div", { class: "stack", "aria-live": "polite", "aria-busy": "true" });
  const form = h(
    "form",
    { class: "search" },
    select("from", "Kind", ["dead-letter", "invalid", "held"], from),
    select("by", "Counted by", ["reason", "serial", "stage", "source", "day"], by),
    h("div", { class: "field" }, h("label", { for: "reason" }, "Reason"), h("input", { id: "reason", name: "reason", value: reason, placeholder: "gps.*", spellcheck: "false", autocomplete: "off" })),
    h("div", { class: "field" }, h("label", { for: "who" }, "Serial or device id"), h("input", { id: "who", name: "named", value: named, spellcheck: "false", autocomplete: "off" })),
    h("button", { type: "submit", class: "primary" }, "Read"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = new URLSearchParams();
    for (const [key, value] of new FormData(form)) if (value.trim()) wanted.set(key, value.trim());
    const next = `#letters?${wanted}`;
    if (location.hash === next) read();
    else location.hash = next;
  });
  put(root, h("h1", {}, "Letters"), form, results);

  function filters(more = []) {
    const parts = from === "dead-letter" ? [] : ["--from", from];
    if (reason) parts.push("--reason", reason);
    if (named) parts.push("--device", named);
    return [...parts, ...more];
  }

  async function read() {
    results.setAttribute("aria-busy", "true");
    put(results, h("p", { class: "muted" }, "reading the letters"));
    const wanted = new URLSearchParams({ from, by });
    if (reason) wanted.set("reason", reason);
    if (named) wanted.set("named", named);
    try {
      draw(await get(`/api/letters?${wanted}`));
    } catch (error) {
      put(results, trouble(error), button("Try again", read));
    }
    results.setAttribute("aria-busy", "false");
  }

  function draw(found) {
    const chosen = by === "reason" ? (group) => `#letters?${new URLSearchParams({ from, by, reason: group, ...(named ? { named } : {}) })}` : by === "serial" ? (group) => `#letters?${new URLSearchParams({ from, by: "reason", named: group })}` : null;
    const left = [
      found.left_out > 0 ? `${number(found.left_out)} older ones were not read` : null,
      found.cut_short ? "the reading was cut short" : null,
      found.marked > 0 ? `${number(found.marked)} were replayed or dismissed already` : null,
    ].filter(Boolean);
    put(
      results,
      h("p", { class: found.letters === 0 ? "notice good" : "lead" }, h("strong", {}, `${number(found.letters)} letters`), ` in ${number(found.groups)} groups`, left.length ? `; ${left.join("; ")}` : "", "."),
      found.shown.length === 0
        ? null
        : h(
            "section",
            { class: "card", "aria-label": "Groups" },
            h(
              "div",
              { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of groups" },
              h(
                "table",
                {},
                h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words(by)), h("th", { scope: "col", class: "num" }, "Letters"), h("th", { scope: "col", class: "num" }, "Bytes"), h("th", { scope: "col" }, "First"), h("th", { scope: "col" }, "Last"), h("th", { scope: "col" }, "An example says"))),
                h(
                  "tbody",
                  {},
                  found.shown.map((group) =>
                    h(
                      "tr",
                      {},
                      h("th", { scope: "row" }, chosen ? h("a", { href: chosen(group.group) }, group.group) : group.group, group.rule ? h("small", {}, group.rule) : null),
                      h("td", { class: "num" }, number(group.letters)),
                      h("td", { class: "num" }, bytes(group.bytes)),
                      h("td", {}, group.first_ms ? clock(group.first_ms) : "–"),
                      h("td", {}, group.last_ms ? clock(group.last_ms) : "–"),
                      h("td", { class: "wide" }, group.detail),
                    ),
                  ),
                ),
              ),
            ),
          ),
      found.examples.length === 0 ? null : h("section", { class: "card", "aria-label": "The newest letters" }, h("div", { class: "card-head" }, h("h2", {}, "The newest")), found.examples.map(example)),
      from === "held" || found.letters === 0
        ? null
        : h(
            "section",
            { class: "card", "aria-label": "Repair" },
            h("div", { class: "card-head" }, h("h2", {}, "Repair")),
            h("p", {}, "Correct the mapping, the rules or the registry first. A replay judges every letter by today's settings and keeps the order of each serial; it is run in a terminal on the job's machine, with the job's settings file."),
            paste("How many would pass now", ["dig-ingest", "replay", "--dry-run", ...filters(), "--config", "job.toml"]),
            paste("Send them again", ["dig-ingest", "replay", ...filters(), "--config", "job.toml"]),
            reason || named ? paste("Never send them", ["dig-ingest", "letters", "dismiss", ...filters(), "--config", "job.toml"]) : null,
          ),
    );
  }
  read();
  return {};
}
