//! One end-to-end scenario.
