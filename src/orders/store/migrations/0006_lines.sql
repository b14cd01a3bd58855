-- What MyAdmin's change of a unit's line came to: 0 as taken in; 1 a person lets it go on all the same; 2 the unit was cancelled because
-- the line is not shown any more, and it goes on when the line is shown again.
ALTER TABLE units ADD COLUMN line_standing BIGINT NOT NULL DEFAULT 0;
-- The unit whose device this one replaces: both belong to the same line.
ALTER TABLE units ADD COLUMN replaces TEXT;
