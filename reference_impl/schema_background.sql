-- Who runs what in the background: one owner for each name, for as long as it says that it lives.
CREATE TABLE leases (
  name   TEXT    PRIMARY KEY,
  holder TEXT    NOT NULL,                       -- the instance of a worker
  until  INTEGER NOT NULL CHECK (until >= 0),    -- 0: given back, nobody has it
  epoch  INTEGER NOT NULL CHECK (epoch >= 1)     -- rises with each change of the holder
) STRICT, WITHOUT ROWID;
