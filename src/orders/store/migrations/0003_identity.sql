-- Who this store is, and how far it is: one row, written when the store is made or first opened by this version.
CREATE TABLE identity (
    name TEXT PRIMARY KEY,
    -- A UUID.
    id TEXT NOT NULL,
    -- 'made', or 'carried-over' from a version that had no identity.
    origin TEXT NOT NULL,
    -- Grows with every provisioning intent and every publication.
    generation BIGINT NOT NULL,
    -- 'unchecked', 'proven', 'unproven' or 'accepted' (by a person, to be checked again), with the reason.
    proof TEXT NOT NULL,
    why TEXT NOT NULL,
    proof_at BIGINT NOT NULL,
    made_at BIGINT NOT NULL
);

-- Generations that the registry's topic may show: all since the last one that was confirmed, and those a person accepted.
CREATE TABLE generations (
    nonce TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    made_at BIGINT NOT NULL
);

-- Serials that no unit has and a person said are no unit's.
CREATE TABLE accepted_serials (
    serial TEXT PRIMARY KEY,
    accepted_by TEXT NOT NULL,
    accepted_at BIGINT NOT NULL
);

-- What the registry said of units that this store did not know when it was recovered: the serial a unit has, or a provisioning call
-- whose answer nobody knows.
CREATE TABLE recovered (
    -- The unit's id, or the serial if the registry does not say which unit of the order has it.
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    unit_id TEXT,
    serial TEXT,
    device_id TEXT,
    recovered_at BIGINT NOT NULL
);
CREATE INDEX recovered_by_order ON recovered (order_id);

ALTER TABLE outbox ADD COLUMN unit_id TEXT;
-- 1: the registry's word, taken over by a recovery; it stays until the unit has caught up.
ALTER TABLE devices ADD COLUMN adopted BIGINT NOT NULL DEFAULT 0;
