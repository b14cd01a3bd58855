-- Sheets of terminations by their content: what was thought of each, and what a person decided.
CREATE TABLE judged_sheets (
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- What people and alarms call it.
    subject TEXT NOT NULL,
    -- doubted, obeyed, accepted, refused or replaced.
    state TEXT NOT NULL,
    -- Of a doubt: its alarm's kind.
    kind TEXT,
    said TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    bad_count BIGINT NOT NULL,
    -- The settings it was judged by: with others it is judged again.
    judged_by TEXT NOT NULL,
    judged_at BIGINT NOT NULL,
    again_at BIGINT,
    decided_by TEXT,
    decided_at BIGINT,
    -- Its rows; NULL: it was no sheet at all.
    content TEXT,
    PRIMARY KEY (place, name, digest)
);

-- Devices that a sheet was to end later and that the next one did not name.
CREATE TABLE vanished_devices (
    serial TEXT PRIMARY KEY,
    -- The sheet that named it last, and the one that did not.
    named_by TEXT NOT NULL,
    missing_in TEXT NOT NULL,
    since BIGINT,
    at BIGINT NOT NULL
);
