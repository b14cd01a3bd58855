//! Secrets and hostile text in what others send, log and answer (C1).
