-- Plain SQL that SQLite and PostgreSQL both take. Times are microseconds since the epoch, UTC; truth values are 0 or 1.

-- One row per counter. Every writing transaction of the reconciler takes its numbers here, so they are given in the order of
-- commits and without gaps.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('event', 0), ('outbox', 0), ('intent', 0);

-- Who may act: one row. The token grows with every change of hands.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
INSERT INTO lease (name, holder, token, expires_at) VALUES ('orders', '', 0, 0);

CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    parked_from TEXT,
    reason_code TEXT,
    reason_text TEXT,
    asks TEXT NOT NULL,
    approved_by TEXT,
    ended_at BIGINT,
    ended_why TEXT,
    -- What the remote side says of it, as JSON.
    head TEXT NOT NULL,
    -- Full sweeps in a row that did not list it.
    missing BIGINT NOT NULL,
    -- The shipment as last told, as JSON, with how often in vain and when it may be tried again.
    reported TEXT,
    attempts BIGINT NOT NULL,
    retry_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX orders_by_state ON orders (state);

CREATE TABLE units (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id),
    version BIGINT NOT NULL,
    line_id TEXT NOT NULL,
    product_code TEXT NOT NULL,
    needs_serial BIGINT NOT NULL,
    needs_sim BIGINT NOT NULL,
    needs_imei BIGINT NOT NULL,
    attribute TEXT,
    state TEXT NOT NULL,
    parked_from TEXT,
    reason_code TEXT,
    reason_text TEXT,
    -- P1: no two units share one, whatever becomes of them.
    serial TEXT UNIQUE,
    sim TEXT,
    imei TEXT,
    device_id TEXT,
    carrier TEXT,
    tracking TEXT,
    owner_database TEXT,
    active_since BIGINT,
    ended_at BIGINT,
    attempts BIGINT NOT NULL,
    retry_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX units_by_order ON units (order_id);
CREATE INDEX units_by_state ON units (state);
CREATE INDEX units_by_imei ON units (imei);

-- The audit trail: written in the transaction of the change it tells.
CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    order_id TEXT,
    unit_id TEXT,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    from_state TEXT,
    to_state TEXT,
    why TEXT NOT NULL,
    evidence TEXT
);
CREATE INDEX events_by_order ON events (order_id, seq);
CREATE INDEX events_by_unit ON events (unit_id, seq);

-- P1: one row per provisioning call, committed before the call.
CREATE TABLE intents (
    id BIGINT PRIMARY KEY,
    unit_id TEXT NOT NULL REFERENCES units (id),
    product_code TEXT NOT NULL,
    product_id BIGINT NOT NULL,
    prefix TEXT NOT NULL,
    erp_no TEXT NOT NULL,
    -- 'open', 'answered', 'refused', 'without-effect', 'adopted', 'unresolved', 'abandoned'.
    state TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    -- When the partner's devices were last listed before the call; NULL: they cannot be listed.
    listed_at BIGINT,
    closed_at BIGINT,
    serial TEXT,
    evidence TEXT
);
CREATE INDEX intents_by_product ON intents (product_code, state);
CREATE INDEX intents_by_unit ON intents (unit_id);

-- Every serial the partner's device list has ever shown.
CREATE TABLE seen_serials (
    serial TEXT PRIMARY KEY,
    product_code TEXT NOT NULL,
    owner_database TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL
);
CREATE INDEX seen_serials_by_time ON seen_serials (first_seen);

-- The device registry as it is to be; the outbox carries every change of it to the topic, in order.
CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    unit_id TEXT,
    serial TEXT,
    state TEXT NOT NULL,
    order_id TEXT,
    since BIGINT
);
CREATE INDEX devices_by_unit ON devices (unit_id);

CREATE TABLE outbox (
    seq BIGINT PRIMARY KEY,
    device_id TEXT NOT NULL,
    serial TEXT,
    state TEXT NOT NULL,
    order_id TEXT,
    since BIGINT,
    made_at BIGINT NOT NULL,
    published_at BIGINT
);
CREATE INDEX outbox_unpublished ON outbox (published_at, seq);

-- What a person should know and no state shows. One row per kind and subject.
CREATE TABLE alarms (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    said TEXT NOT NULL,
    evidence TEXT,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    cleared_at BIGINT,
    PRIMARY KEY (kind, subject)
);

-- When something was last done in full, such as a sweep.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);
