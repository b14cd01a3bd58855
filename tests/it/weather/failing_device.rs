//! A device whose records the gateway fails on blocks only itself (Q1).
