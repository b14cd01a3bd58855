// What the job does now: rates, gateway, memory, partitions, and whatever waits with its remedy.

import { get, post, text } from "./ask.js";
import { chart } from "./chart.js";
import { ask, button, h, prose, put, say, toast, whenChanged } from "./dom.js";
import { ago, bytes, compact, number, rate, samples, span, state, sum, words } from "./figures.js";

const KEPT = 450;
const ENDS = "dig_ingest_records_total";

/** Counters and gauges of one reading, all from `/metrics`. */
function reading(all, at) {
  const total = (name, labels) => sum(all, name, labels) ?? 0;
  return {
    at_ms: at,
    read: total("dig_ingest_records_read_total"),
    accepted: total(ENDS, { outcome: "accepted" }),
    dead_lettered: total(ENDS, { outcome: "dead_lettered" }),
    held: total(ENDS, { outcome: "held" }),
    discarded: total(ENDS, { outcome: "discarded" }),
    requests: total("dig_ingest_upload_answers_total"),
  };
}

/** A row of the table of partitions. */
function partition(shown) {
  const { end, committed, next } = shown.position;
  const known = committed ?? next;
  return {
    name: `${shown.topic}/${shown.partition}`,
    lag: end === null || known === null ? 0 : Math.max(0, end - known),
    in_hand: shown.in_hand,
    held: shown.held.records,
    oldest: shown.in_hand > 0 && shown.watermark !== null ? number(shown.watermark) : "–",
    stuck: shown.in_hand > 0 ? span(shown.progress_s_ago) : "–",
    pause: shown.pause,
  };
}

/** Rates between neighbours; a counter that fell was started anew. */
function rates(history, keys) {
  return history.slice(1).map((point, at) => {
    const before = history[at];
    const seconds = (point.at_ms - before.at_ms) / 1000;
    const values = keys.map((key) => (seconds > 0 && point[key] >= before[key] ? (point[key] - before[key]) / seconds : null));
    return { at: point.at_ms, values };
  });
}

function tile(label, metric, help) {
  const value = h("strong", { class: "value", data: metric ? { metric } : undefined }, "–");
  const below = h("span", { class: "muted" }, help ?? "");
  return { node: h("div", { class: "tile" }, h("span", { class: "label" }, label), value, below), value, below };
}

const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function wait(item, kind, act = null) {
  return h(
    "li",
    { class: `wait ${kind}` },
    h("div", { class: "wait-head" }, h("strong", {}, words(item.kind)), h("code", {}, item.subject), h("span", { class: "muted" }, item.for)),
    h("p", {}, prose(item.cause)),
    item.remedy ? h("p", { class: "remedy" }, h("b", {}, "What you can do: "), prose(item.remedy)) : null,
    act ? h("div", { class: "row" }, act) : null,
  );
}

export function open(root, { session, named }) {
  const tiles = {
    accepted: tile("Accepted", "accepted"),
    read: tile("Read", "read"),
    rejected: tile("Dead-lettered", "dead_lettered"),
    held: tile("Held", "held"),
    lag: tile("Lag", "lag", "messages not committed"),
    hand: tile("In hand", "in_hand", "records read, not settled"),
    circuit: tile("Gateway", "circuit"),
    memory: tile("Memory permits", "memory"),
  };
  const bar = h("span", { class: "bar" }, h("i"));
  tiles.memory.node.append(bar);
  const flow = chart({
    title: "Records",
    unit: "per second",
    format: rate,
    series: [
      { name: "accepted", look: "one" },
      { name: "dead-lettered", look: "three" },
      { name: "held", look: "two" },
    ],
  });
  const behind = chart({ title: "Lag", unit: "messages", series: [{ name: "not committed", look: "four" }] });
  const waits = h("div");
  const body = h("tbody");
  const more = h("p", { class: "muted small" });
  const facts = h("dl", { class: "facts" });
  const partitions = h(
    "section",
    { class: "card", "aria-label": "Partitions" },
    h("div", { class: "card-head" }, h("h2", {}, "Partitions"), more),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of partitions" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Partition", "Lag", "In hand", "Held", "Oldest unsettled", "None settled for", "Pause"].map((title, at) =>
              h("th", { scope: "col", class: at > 0 && at < 6 ? "num" : undefined }, title),
            ),
          ),
        ),
        body,
      ),
    ),
  );
  put(
    root,
    h("h1", {}, "Now"),
    waits,
    h("div", { class: "tiles" }, Object.values(tiles).map(({ node }) => node)),
    h("div", { class: "charts" }, flow.node, behind.node),
    partitions,
    h("section", { class: "card", "aria-label": "The process" }, h("div", { class: "card-head" }, h("h2", {}, "Process")), facts),
  );

  let history = [];
  let behindUs = get("/page/history").then(
    (past) => (history = past),
    () => {},
  );

  /** An alarm that a person has seen to; the job raises it again where its cause still stands. */
  async function clear({ kind, subject }) {
    if (!(await named())) return;
    await ask({
      title: `Clear the alarm ${words(kind)}?`,
      lead: `It is about ${subject}. Clear it when its cause is seen to; the audit trail keeps who did.`,
      yes: "Clear",
      send: async () => {
        await post("/api/alarms/clear", { kind, subject });
        toast("The alarm is cleared");
      },
    });
  }

  const drawWaits = whenChanged(({ standing, alarms }) => {
    const items = [
      ...standing.map((item) => wait(item, item.effect === "reported" ? "calm" : item.effect === "not_live" ? "bad" : "warn")),
      ...alarms.map((item) => wait(item, "warn", button("Clear", () => clear(item)))),
    ];
    put(
      waits,
      items.length === 0
        ? h("p", { class: "notice good" }, "Nothing waits, and no alarm stands.")
        : h(
            "section",
            { "aria-label": "Waits and alarms" },
            h("h2", { class: "over" }, [counted(standing.length, "wait"), counted(alarms.length, "alarm")].join(", ")),
            h("ul", { class: "waits" }, items),
          ),
    );
  });
  const drawRows = whenChanged((rows) => {
    const shown = [...rows].sort((a, b) => b.lag - a.lag || b.in_hand - a.in_hand).slice(0, 100);
    say(more, rows.length > shown.length ? `the ${shown.length} of ${rows.length} with the most lag` : `${rows.length} assigned`);
    put(
      body,
      shown.map((row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, row.name),
          [number(row.lag), number(row.in_hand), number(row.held), row.oldest, row.stuck].map((value) => h("td", { class: "num" }, value)),
          h("td", {}, row.pause === "none" ? h("span", { class: "muted" }, "–") : h("span", { class: "tag warn" }, words(row.pause))),
        ),
      ),
    );
  });

  return {
    async update(status) {
      const [page, alarms] = await Promise.all([
        text("/metrics"),
        session.orders ? get("/api/alarms").then(({ alarms }) => alarms, () => []) : [],
        behindUs,
      ]);
      const all = samples(page);
      const rows = status.partitions.map(partition);
      const add = (key) => rows.reduce((total, row) => total + row[key], 0);
      const point = { ...reading(all, Date.now()), lag: add("lag") };
      history = [...history, point].slice(-KEPT);
      const flows = rates(history, ["accepted", "dead_lettered", "held", "read", "requests"]);
      // The newest rate over ten seconds: steadier than between two readings.
      const from = history.findLast(({ at_ms }) => at_ms <= point.at_ms - 10_000) ?? history[0];
      const [now] = rates([from, point], ["accepted", "dead_lettered", "held", "read", "requests"]);
      const per = (at) => (from === point ? null : now?.values[at]);
      for (const [name, at, key] of [
        ["accepted", 0, "accepted"],
        ["rejected", 1, "dead_lettered"],
        ["held", 2, "held"],
        ["read", 3, "read"],
      ]) {
        put(tiles[name].value, rate(per(at)), h("small", {}, "/s"));
        tiles[name].node.dataset.total = point[key];
        say(tiles[name].below, `${number(point[key])} since the start`);
      }
      say(tiles.lag.value, compact(add("lag")));
      say(tiles.hand.value, compact(add("in_hand")));
      const circuit = state(all, "dig_ingest_upload_circuit", "state");
      say(tiles.circuit.value, circuit === null ? "not used" : circuit === "closed" ? "connected" : circuit);
      tiles.circuit.node.dataset.state = circuit === "closed" || circuit === null ? "good" : "bad";
      const limit = sum(all, "dig_ingest_upload_concurrency_limit");
      say(tiles.circuit.below, circuit === null ? "no pipeline in this process" : `circuit ${circuit}, at most ${number(limit)} at once, ${rate(per(4))} requests/s`);
      const used = sum(all, "dig_ingest_memory_permits_used_bytes");
      const total = sum(all, "dig_ingest_memory_permits_total_bytes");
      say(tiles.memory.value, bytes(used));
      say(tiles.memory.below, total === null ? "" : `of ${bytes(total)}`);
      bar.firstChild.style.width = `${total ? Math.min(100, (used / total) * 100) : 0}%`;
      flow.update(flows.map(({ at, values }) => ({ at, values: values.slice(0, 3) })));
      behind.update(history.map(({ at_ms, lag }) => ({ at: at_ms, values: [lag] })));
      drawRows(rows);
      drawWaits({
        standing: status.waits.map((item) => ({ ...item, for: `for ${span(item.seconds)}` })),
        alarms: alarms.map(({ kind, subject, said, remedy, first_at }) => ({ kind, subject, cause: said, remedy, for: ago(first_at) })),
      });
      const session_state = state(all, "dig_ingest_auth_session", "state");
      const life = sum(all, "dig_ingest_auth_token_life_seconds");
      const orders = status.orders?.figures;
      put(
        facts,
        [
          ["Version", status.version],
          ["Up", span(status.up_s)],
          ["Live, ready", `${status.live ? "yes" : "no"}, ${status.ready ? "yes" : "no"}`],
          ["Resident memory", bytes(sum(all, "dig_ingest_process_resident_bytes"))],
          ["Gateway session", session_state ? words(session_state) : "–"],
          ["Token lives", life ? span(life) : "–"],
          ["Consumer group", status.group ? status.group.states : "–"],
          ["Orders store", orders ? orders.store.proof : status.orders?.trouble ?? "–"],
          ["Lease", orders ? words(orders.lease) : "–"],
        ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      );
    },
    end() {
      flow.end();
      behind.end();
      behindUs = null;
    },
  };
}
