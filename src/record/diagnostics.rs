//! The published diagnostics: code, unit, length, multiplier, offset.
