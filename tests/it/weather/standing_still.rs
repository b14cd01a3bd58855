//! Standing still is never green: whatever waits is published with its cause, since when, and the remedy (H1).
