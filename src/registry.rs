//! The device registry: which device has which serial, and whether it may send.
