-- What MyAdmin last showed of a unit's line, and since when it shows that.
CREATE TABLE lines_shown (
    unit_id TEXT PRIMARY KEY REFERENCES units (id),
    serial TEXT,
    sim TEXT,
    imei TEXT,
    since BIGINT NOT NULL
);

-- 1: the cause of a cleared alarm is gone, so that it is raised again when the cause returns. NULL: a person cleared it.
ALTER TABLE alarms ADD COLUMN ended BIGINT;
