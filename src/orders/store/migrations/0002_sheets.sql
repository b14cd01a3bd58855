-- Sheets of terminations that were read: one row per place and name.
CREATE TABLE sheets (
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Tells its content; a sheet whose content is the same is not judged twice.
    digest TEXT NOT NULL,
    read_at BIGINT NOT NULL,
    again_at BIGINT,
    -- Of the last one that was obeyed: what a shortened one is told by.
    obeyed_rows BIGINT,
    obeyed_at BIGINT,
    PRIMARY KEY (place, name)
);
