// Devices: found by id, serial or IMEI; what state they are in, why, and what that means for their records.

import { get } from "./ask.js";
import { button, h, prose, put, trouble } from "./dom.js";
import { ago, clock, number, words } from "./figures.js";

const LOOK = { active: "good", pending: "warn", terminated: "bad" };

function letterRow(letter) {
  return h(
    "li",
    {},
    h("div", { class: "wait-head" }, h("strong", {}, letter.reason), h("span", { class: "muted" }, letter.time_ms ? ago(letter.time_ms) : "")),
    letter.rule ? h("p", {}, letter.rule) : null,
    h("p", { class: "muted" }, letter.detail),
    h("p", {}, h("a", { href: `#letters?named=${encodeURIComponent(letter.serial ?? letter.name ?? "")}` }, "All letters of this device")),
  );
}

function card(device, waits) {
  const quarantine = waits.filter((wait) => wait.kind === "quarantine" && (wait.subject.includes(device.device_id) || (device.serial && wait.subject.includes(device.serial))));
  const kept = h("div", { class: "small" });
  const waiting = h("div", { class: "small", "aria-live": "polite" });
  const count = async () => {
    put(waiting, h("p", { class: "muted" }, "asking the partitions"));
    try {
      const names = new URLSearchParams([["named", device.device_id], ...(device.serial ? [["named", device.serial]] : [])]);
      const { held } = await get(`/api/devices/held?${names}`);
      put(
        waiting,
        held.length === 0
          ? h("p", { class: "muted" }, "Nothing of it is held.")
          : held.map((part) => h("p", { class: "notice warn" }, h("strong", {}, `${number(part.records)} records held`), ` in ${part.topic}/${part.partition}: ${part.reason}`, part.since_ms ? `, the oldest from ${clock(part.since_ms)}` : "")),
      );
    } catch (error) {
      put(waiting, trouble(error));
    }
  };
  const look = async () => {
    put(kept, h("p", { class: "muted" }, "reading the letters"));
    try {
      const name = device.serial ?? device.device_id;
      const found = await get(`/api/letters?named=${encodeURIComponent(name)}`);
      put(
        kept,
        found.examples.length === 0
          ? h("p", { class: "muted" }, "No dead letter of this device.")
          : [h("h4", {}, `Last reject of ${number(found.letters)}`), h("ul", { class: "plain" }, letterRow(found.examples[0]))],
      );
    } catch (error) {
      put(kept, trouble(error));
    }
  };
  return h(
    "li",
    { class: "card device" },
    h(
      "div",
      { class: "card-head" },
      h("h3", {}, device.device_id),
      h("span", { class: `tag ${LOOK[device.state] ?? ""}` }, device.state),
    ),
    h("p", {}, device.why),
    device.remedy ? h("p", { class: "remedy" }, h("b", {}, "What you can do: "), prose(device.remedy)) : null,
    quarantine.map((wait) => h("div", { class: "notice warn" }, h("strong", {}, "In quarantine"), h("p", {}, prose(wait.cause)), h("p", {}, prose(wait.remedy)))),
    h(
      "dl",
      { class: "facts" },
      [
        ["Serial", device.serial ?? "none yet"],
        ["Order", device.order ? h("a", { href: `#orders/${encodeURIComponent(device.order)}` }, device.order) : "none"],
        ["Since", device.since ? clock(device.since) : "unknown"],
        ["IMEI", device.imei],
        ["SIM", device.sim],
      ].filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    h("div", { class: "row" }, button("What is held", count), button("Last reject", look)),
    waiting,
    kept,
  );
}

export function open(root, { query, session }) {
  const input = h("input", { id: "named", type: "search", name: "named", value: query.get("named") ?? "", autocomplete: "off", spellcheck: "false" });
  const results = h("div", { class: "stack", "aria-live": "polite" });
  const form = h(
    "form",
    { class: "search", role: "search" },
    h("div", { class: "field" }, h("label", { for: "named" }, "Device id, serial or IMEI"), input),
    h("button", { type: "submit", class: "primary" }, "Find"),
  );
  let waits = [];
  put(root, h("h1", {}, "Devices"), form, results);

  async function find(named) {
    if (!named) {
      const all = await get("/api/devices?named=");
      put(
        results,
        h(
          "div",
          { class: "tiles" },
          ["active", "pending", "terminated", "disputed"].map((state) =>
            h("div", { class: "tile" }, h("span", { class: "label" }, words(state)), h("strong", { class: "value" }, number(all.counts[state])), h("span", { class: "muted" }, "devices")),
          ),
        ),
      );
      return;
    }
    // An IMEI or SIM is known to the orders only.
    const units = session.orders
      ? await get(`/api/units?named=${encodeURIComponent(named)}`).then(({ units }) => units, () => [])
      : [];
    let found = await get(`/api/devices?named=${encodeURIComponent(named)}`);
    for (const unit of units) {
      const name = unit.device_id ?? unit.serial;
      if (!name || found.devices.some((device) => device.device_id === name || device.serial === name)) continue;
      const other = await get(`/api/devices?named=${encodeURIComponent(name)}`);
      found = { ...found, devices: [...found.devices, ...other.devices] };
    }
    const devices = found.devices.map((device) => {
      const unit = units.find((unit) => unit.device_id === device.device_id || (unit.serial && unit.serial === device.serial));
      return { ...device, imei: unit?.imei, sim: unit?.sim };
    });
    const orphans = units.filter((unit) => !devices.some((device) => device.device_id === unit.device_id || device.serial === unit.serial));
    put(
      results,
      devices.length === 0 && orphans.length === 0
        ? h("p", { class: "notice" }, `The registry of ${number(found.known)} devices has none that is called so. `, found.gate === "off" ? "The gate is off: unknown devices send all the same." : "Records of unknown devices are held, unless gate.unknown says otherwise.")
        : null,
      found.more ? h("p", { class: "muted" }, "More devices fit than are shown; give more of the name.") : null,
      h("ul", { class: "plain devices" }, devices.map((device) => card(device, waits))),
      orphans.map((unit) =>
        h("p", { class: "notice" }, `Unit ${unit.id} has this mark and is not in the registry yet: ${words(unit.state)}. `, h("a", { href: `#orders/${encodeURIComponent(unit.order)}` }, `Order ${unit.order}`)),
      ),
    );
  }

  async function search() {
    try {
      await find(input.value.trim());
    } catch (error) {
      put(results, trouble(error));
    }
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    history.replaceState(null, "", `#devices?named=${encodeURIComponent(input.value.trim())}`);
    search();
  });
  search();
  return {
    update(status) {
      waits = status.waits;
    },
  };
}
