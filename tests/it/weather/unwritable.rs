//! Whatever must be written can be written: letters, held records and marks that the broker will never take (D1).
