// Orders as a board by what they wait for; imports and prints of the warehouse.

import { get, post } from "./ask.js";
import { button, h, put, toast, trouble, whenChanged } from "./dom.js";
import { ago, number, words } from "./figures.js";
import * as one from "./order.js";

/** The stages of the board: what an order waits for decides where it is. */
const STAGES = [
  { name: "To approve", waits: ["approval"], help: "A person lets them go on" },
  { name: "Needs a decision", waits: ["person", "answer", "difference"], help: "Parked, or in doubt" },
  { name: "To prepare", waits: ["provisioning", "marks"], help: "Serials come; devices are assigned" },
  { name: "To ship", waits: ["shipping", "other-units"], help: "Assigned, not shipped" },
  { name: "Into MyAdmin", waits: ["keying", "report"], help: "Shipped; MyAdmin does not show it yet" },
  { name: "On the way", waits: ["database", "listing", "job"], help: "Delivered; the device is not in a database yet" },
  { name: "Done", waits: [], help: "Every device is active" },
];
const MOST = 30;
const PAGES = 20;

function stage(order) {
  if (order.state === "parked" || order.unit_states.parked) return STAGES[1];
  if (!order.wait) return STAGES[6];
  return STAGES.find(({ waits }) => waits.includes(order.wait.for)) ?? STAGES[1];
}

function card(order) {
  const units = Object.entries(order.unit_states);
  return h(
    "li",
    {},
    h(
      "a",
      { class: "ticket", href: `#orders/${encodeURIComponent(order.id)}` },
      h("strong", {}, order.purchase_order || order.reference || order.id),
      h("span", { class: "muted" }, order.contact.name || order.account),
      h("span", { class: "tags" }, units.map(([state, count]) => h("span", { class: `tag ${state === "parked" ? "warn" : ""}` }, `${count} ${words(state)}`))),
      order.wait ? h("span", { class: "small" }, order.wait.said) : null,
      h("span", { class: "muted small" }, `${order.id} · ${ago(order.wait?.since ?? order.updated_at)}`),
    ),
  );
}

async function all() {
  const orders = [];
  let after = "";
  for (let page = 0; page < PAGES; page += 1) {
    const answer = await get(`/api/orders?limit=1000${after}`);
    orders.push(...answer.orders);
    if (!answer.next) return { orders, more: false };
    after = `&after=${encodeURIComponent(answer.next)}`;
  }
  return { orders, more: true };
}

function imports(named, changed) {
  const outcome = h("div", { "aria-live": "polite" });
  const file = h("input", { id: "csv", type: "file", accept: ".csv,text/csv" });
  const partial = h("input", { id: "partial", type: "checkbox" });
  const send = async () => {
    if (!file.files.length) {
      put(outcome, trouble({ what: "No file is chosen.", remedy: "Choose a CSV file with a header row." }));
      return;
    }
    if (!(await named())) return;
    try {
      const done = await post(`/api/import${partial.checked ? "?partial=true" : ""}`, file.files[0], [422]);
      const bad = done.bad;
      put(
        outcome,
        h(
          "div",
          { class: `notice ${bad.length ? "warn" : "good"}` },
          h("strong", {}, `${number(done.done)} lines are done`, done.unchanged ? `, ${number(done.unchanged)} of them had it all already` : "", bad.length ? `; ${number(bad.length)} are wrong` : ""),
          bad.length && !partial.checked ? h("p", {}, "Nothing of the file was taken. Correct the lines, or take the good ones.") : null,
          bad.length
            ? h(
                "div",
                { class: "scroll", tabindex: "0", role: "region", "aria-label": "Lines that are wrong" },
                h(
                  "table",
                  {},
                  h("thead", {}, h("tr", {}, ["Line", "Field", "Value", "Why"].map((title) => h("th", { scope: "col" }, title)))),
                  h("tbody", {}, bad.map((line) => h("tr", {}, [line.line, line.field ?? "", line.value ?? "", [line.what, line.remedy].filter(Boolean).join("; ")].map((value) => h("td", {}, value))))),
                ),
              )
            : null,
        ),
      );
      if (!bad.length || partial.checked) toast(`${number(done.done)} lines imported`);
      changed();
    } catch (error) {
      put(outcome, trouble(error));
    }
  };
  return h(
    "details",
    { class: "card import" },
    h("summary", {}, "Import a CSV file"),
    h("p", { class: "muted" }, "Assignments and shipments, one unit or order per line; the columns are those of orders.import."),
    h("div", { class: "row" }, h("div", { class: "field" }, h("label", { for: "csv" }, "File"), file), h("label", { class: "check" }, partial, h("span", {}, "Take the good lines although others are wrong")), button("Import", send, "primary")),
    outcome,
  );
}

export function open(root, { rest, query, named }) {
  if (rest.length) return one.open(root, rest[0], named);
  const board = h("div", { class: "board" });
  const wrong = h("div");
  const find = h("input", { id: "find", name: "named", type: "search", value: query.get("find") ?? "", autocomplete: "off", spellcheck: "false" });
  const form = h("form", { class: "search", role: "search" }, h("div", { class: "field" }, h("label", { for: "find" }, "Order, purchase order, serial, IMEI or customer"), find), h("button", { type: "submit" }, "Open"));
  let known = { orders: [], more: false };
  let at = 0;

  const draw = whenChanged(({ orders, more, text }) => {
    const fits = (order) => !text || [order.id, order.purchase_order, order.reference, order.contact.name, order.account].some((value) => String(value).toLowerCase().includes(text));
    const open = orders.filter((order) => !["cancelled", "closed"].includes(order.state) && fits(order));
    const focus = document.activeElement?.closest?.(".ticket")?.getAttribute("href");
    put(
      board,
      STAGES.map((column) => {
        const inside = open.filter((order) => stage(order) === column);
        return h(
          "section",
          { class: "column", "aria-label": column.name },
          h("h2", {}, column.name, " ", h("span", { class: "count" }, number(inside.length))),
          h("p", { class: "muted small" }, column.help),
          h("ul", { class: "plain" }, inside.slice(0, MOST).map(card)),
          inside.length > MOST ? h("p", { class: "muted small" }, `${number(inside.length - MOST)} more; search for them`) : null,
        );
      }),
      more ? h("p", { class: "muted" }, "There are more orders than the board reads; search for one.") : null,
    );
    if (focus) board.querySelector(`.ticket[href="${CSS.escape(focus)}"]`)?.focus();
  });
  const redraw = () => draw({ ...known, text: find.value.trim().toLowerCase() });
  async function load() {
    try {
      known = await all();
      put(wrong);
      redraw();
    } catch (error) {
      put(wrong, trouble(error));
    }
  }
  find.addEventListener("input", redraw);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = find.value.trim();
    const [only, ...others] = board.querySelectorAll(".ticket");
    if (only && !others.length) location.hash = only.getAttribute("href");
    else if (text) location.hash = `#orders/${encodeURIComponent(text)}`;
  });
  put(
    root,
    h(
      "div",
      { class: "head" },
      h("h1", {}, "Orders"),
      h("div", { class: "row" }, h("a", { class: "button", href: "/api/export/picking-page", target: "_blank", rel: "noopener" }, "Print picking list"), h("a", { class: "button", href: "/api/export/worksheet-page", target: "_blank", rel: "noopener" }, "Print worksheet")),
    ),
    form,
    wrong,
    board,
    imports(named, load),
  );
  return {
    async update() {
      if (Date.now() - at < 5000) return;
      at = Date.now();
      await load();
    },
  };
}
