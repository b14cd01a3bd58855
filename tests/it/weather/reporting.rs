//! What only reports (log, metrics, health, progress) can neither stop, slow nor end the job (N1).
