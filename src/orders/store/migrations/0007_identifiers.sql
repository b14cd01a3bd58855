-- Identifiers that a person gives are looked up among the units and the devices there are, for every line of an import.
CREATE INDEX units_by_device_id ON units (device_id);
CREATE INDEX units_by_sim ON units (sim);
CREATE INDEX devices_by_serial ON devices (serial);
