// One order: its units, what a person can do, and its timeline.

import { get, post } from "./ask.js";
import { ask, button, h, prose, put, toast, trouble, whenChanged } from "./dom.js";
import { ago, clock, words } from "./figures.js";

const GOOD = ["active", "approved", "in-database", "confirmed"];
const WARN = ["parked", "received"];
const BAD = ["cancelled", "terminated", "closed"];

function tag(state) {
  const look = GOOD.includes(state) ? "good" : WARN.includes(state) ? "warn" : BAD.includes(state) ? "bad" : "";
  return h("span", { class: `tag ${look}` }, words(state));
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function waiting(wait) {
  return wait ? h("div", { class: "notice" }, h("strong", {}, wait.said), h("p", { class: "muted" }, `since ${ago(wait.since)}`), wait.remedy ? h("p", {}, prose(wait.remedy)) : null) : null;
}

/** The steps of a unit, and how far it is. */
const STEPS = ["ordered", "provisioned", "assigned", "shipped", "reported", "confirmed", "in-database", "active"];

function steps(state) {
  const reached = STEPS.indexOf(state);
  if (reached < 0) return null;
  return h(
    "ol",
    { class: "steps", "aria-label": `Step ${reached + 1} of ${STEPS.length}: ${words(state)}` },
    STEPS.map((step, at) => h("li", { class: at < reached ? "past" : at === reached ? "here" : "", "aria-current": at === reached ? "step" : undefined }, h("span", {}, words(step)))),
  );
}

export function open(root, id, named) {
  const wrong = h("div", { "aria-live": "polite" });
  const head = h("div");
  const units = h("div");
  const events = h("section", { class: "card", "aria-label": "Timeline" });
  const title = h("h1", {}, `Order ${id}`);
  put(root, h("p", {}, h("a", { href: "#orders" }, "← All orders")), title, wrong, head, units, events);
  let order = null;
  let at = 0;

  async function act(path, body, done) {
    await post(path, body);
    toast(done);
    await load();
  }
  /** An act whose reason a person gives. */
  function explained(label, path, question, kind) {
    return button(
      label,
      async () => {
        if (!(await named())) return;
        await ask({
          title: question,
          fields: [{ name: "why", label: "Why", required: true, help: "It is written into the audit trail." }],
          yes: label,
          kind: kind ?? "primary",
          send: ({ why }) => act(path, { why }, `${label}: done`),
        });
      },
      kind === "danger" ? "danger" : "",
    );
  }
  function plain(label, path, done, kind = "") {
    return button(
      label,
      async () => {
        if (!(await named())) return;
        try {
          await act(path, {}, done);
          put(wrong);
        } catch (error) {
          put(wrong, trouble(error));
        }
      },
      kind,
    );
  }
  const at_order = (what) => `/api/orders/${encodeURIComponent(order.id)}/${what}`;
  const at_unit = (unit, what) => `/api/units/${encodeURIComponent(unit.id)}/${what}`;

  function assign(unit) {
    return button(
      "Assign",
      async () => {
        if (!(await named())) return;
        const needs = [
          ["imei", "IMEI", unit.imei, "15 digits; the last one is checked"],
          ["sim", "SIM", unit.sim, "19 or 20 digits"],
          ["device_id", "Device id", unit.device_id, "the integrator's own; often the IMEI"],
          ["serial", "Serial", unit.serial, unit.serial ? "" : "only where the device has one already"],
        ];
        await ask({
          title: `Assign unit ${unit.id}`,
          lead: unit.lacking.length ? `It still lacks: ${unit.lacking.map(words).join(", ")}.` : "It has all its line asks for.",
          fields: [
            ...needs.map(([name, label, value, help]) => ({ name, label, value: value ?? "", help: unit.lacking.includes(name) ? `needed; ${help}` : help })),
            { name: "force", label: "Take what a check refuses", type: "checkbox" },
          ],
          yes: "Assign",
          send: async (values) => {
            const body = {};
            for (const [name, , value] of needs) if (values[name] && values[name] !== (value ?? "")) body[name] = values[name];
            if (values.force) body.force = true;
            try {
              await act(at_unit(unit, "assign"), body, `Unit ${unit.id} is assigned`);
            } catch (error) {
              error.remedy = error.remedy?.replace('give "force": true', 'tick "Take what a check refuses"');
              throw error;
            }
          },
        });
      },
      unit.lacking.length ? "primary" : "",
    );
  }

  function ship() {
    const ready = order.units.filter((unit) => unit.state === "assigned");
    return button(
      ready.length === 1 ? "Ship 1 unit" : `Ship ${ready.length} units`,
      async () => {
        if (!(await named())) return;
        await ask({
          title: `Ship order ${order.id}`,
          lead: `Goes with it: ${ready.map((unit) => unit.id).join(", ")}.`,
          fields: [
            { name: "carrier", label: "Carrier", required: true },
            { name: "tracking", label: "Tracking numbers", many: true, required: true, help: "one per line" },
          ],
          yes: "Ship",
          send: ({ carrier, tracking }) =>
            act(at_order("ship"), { carrier, tracking: tracking.split(/[\s,;]+/).filter(Boolean), units: ready.map((unit) => unit.id) }, "Shipped"),
        });
      },
      "primary",
    );
  }

  function unitCard(unit) {
    const live = !["cancelled", "terminated"].includes(unit.state);
    return h(
      "li",
      { class: "card unit" },
      h("div", { class: "card-head" }, h("h3", {}, `Unit ${unit.id}`), h("span", { class: "muted" }, unit.product_code), tag(unit.state)),
      steps(unit.state),
      unit.reason ? h("div", { class: "notice warn" }, h("strong", {}, unit.reason), unit.remedy ? h("p", {}, prose(unit.remedy)) : null) : waiting(unit.wait),
      unit.odd.map((odd) => h("p", { class: "notice warn" }, odd)),
      facts([
        ["Serial", unit.serial],
        ["IMEI", unit.imei],
        ["SIM", unit.sim],
        ["Device id", unit.device_id ? h("a", { href: `#devices?named=${encodeURIComponent(unit.device_id)}` }, unit.device_id) : null],
        ["Lacks", unit.lacking.map(words).join(", ")],
        ["Parcel", [unit.carrier, ...unit.tracking].filter(Boolean).join(" ")],
        ["Database", unit.database],
        ["Active since", unit.active_since ? clock(unit.active_since) : null],
      ]),
      h(
        "div",
        { class: "row" },
        live && unit.state !== "parked" ? assign(unit) : null,
        unit.state === "parked" ? plain("Retry", at_unit(unit, "retry"), `Unit ${unit.id} goes on`, "primary") : null,
        live && unit.state !== "parked" && unit.state !== "active" ? explained("Park", at_unit(unit, "park"), `Park unit ${unit.id}?`) : null,
        unit.state === "active" ? explained("Replace", at_unit(unit, "replace"), `Replace the device of unit ${unit.id}?`) : null,
        unit.state === "cancelled" ? explained("Resume", at_unit(unit, "resume"), `Resume unit ${unit.id}?`) : null,
        live && unit.state !== "active" ? explained("Cancel", at_unit(unit, "cancel"), `Cancel unit ${unit.id}?`, "danger") : null,
      ),
    );
  }

  const draw = whenChanged((whole) => {
    order = whole;
    const contact = whole.contact;
    const ready = whole.units.some((unit) => unit.state === "assigned");
    title.textContent = `Order ${whole.purchase_order || whole.reference || whole.id}`;
    put(
      head,
      h(
        "section",
        { class: "card", "aria-label": "The order" },
        h("div", { class: "card-head" }, h("h2", {}, whole.id), h("span", { class: "muted" }, whole.status), tag(whole.state)),
        whole.reason ? h("div", { class: "notice warn" }, h("strong", {}, whole.reason), whole.remedy ? h("p", {}, prose(whole.remedy)) : null) : waiting(whole.wait),
        whole.mail_differs.map((said) => h("p", { class: "notice warn" }, "Mail says otherwise: ", said)),
        whole.doubts.map((doubt) => h("div", { class: "notice warn" }, h("strong", {}, `Unit ${doubt.unit}: a provisioning call has no known answer`), h("p", {}, prose(doubt.said)), h("p", {}, prose(doubt.remedy)))),
        facts([
          ["Ship to", [contact.name, contact.street1, contact.street2, [contact.zip_code, contact.city].filter(Boolean).join(" "), contact.state].filter(Boolean).join(", ")],
          ["Telephone", contact.telephone1],
          ["E-mail", contact.email],
          ["Account", whole.account],
          ["Reseller", whole.reseller],
          ["Comment", whole.comment],
          ["Ordered", whole.order_date],
          ["Shipment in MyAdmin", [whole.carrier, whole.tracking].filter(Boolean).join(" ")],
        ]),
        h(
          "div",
          { class: "row" },
          whole.state === "received" ? plain("Approve", at_order("approve"), "Approved", "primary") : null,
          ready && whole.state === "approved" ? ship() : null,
          whole.state === "parked" ? plain("Retry", at_order("retry"), "The order goes on", "primary") : null,
          ["received", "approved"].includes(whole.state) ? explained("Park", at_order("park"), `Park order ${whole.id}?`) : null,
          ["cancelled", "closed"].includes(whole.state) ? explained("Resume", at_order("resume"), `Resume order ${whole.id}?`) : null,
          ["received", "approved", "parked"].includes(whole.state) ? explained("Cancel", at_order("cancel"), `Cancel order ${whole.id}?`, "danger") : null,
        ),
      ),
    );
    put(units, h("h2", { class: "over" }, `${whole.units.length} ${whole.units.length === 1 ? "unit" : "units"}`), h("ul", { class: "plain units" }, whole.units.map(unitCard)));
  });
  const drawEvents = whenChanged((list) => {
    put(
      events,
      h("div", { class: "card-head" }, h("h2", {}, "Timeline"), h("span", { class: "muted" }, "newest first")),
      h(
        "ol",
        { class: "timeline" },
        [...list].reverse().map((event) =>
          h(
            "li",
            {},
            h("div", { class: "wait-head" }, h("strong", {}, words(event.act)), event.unit_id ? h("code", {}, event.unit_id) : null, event.to_state && event.to_state !== event.from_state ? h("span", { class: "muted" }, `${event.from_state ? words(event.from_state) : "new"} → ${words(event.to_state)}`) : null),
            event.why ? h("p", {}, event.why) : null,
            h("p", { class: "muted small" }, h("time", { datetime: event.at }, clock(event.at)), " · ", event.actor_kind === "person" ? event.actor : `${words(event.actor_kind)}${event.actor && event.actor !== event.actor_kind ? ` ${event.actor}` : ""}`),
          ),
        ),
      ),
    );
  });

  async function load() {
    const whole = await get(`/api/orders/${encodeURIComponent(id)}`);
    draw(whole);
    drawEvents((await get(`/api/events?order=${encodeURIComponent(whole.id)}`)).events);
  }
  return {
    async update() {
      if (Date.now() - at < 3000 || document.querySelector("dialog[open]")) return;
      at = Date.now();
      try {
        await load();
      } catch (error) {
        put(wrong, trouble(error));
      }
    },
  };
}
