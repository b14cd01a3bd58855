//! What every HTTP client here shares: retry and pacing.
