//! Files of others are bounded, parsed off the main task, and fail alone.
