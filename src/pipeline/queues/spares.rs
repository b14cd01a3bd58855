//! Emptied buffers, kept for the next chunks and bodies: a page fault costs more than filling the page.
//!
//! No permit stands for them, so their number and size are bounded ([`kept_bytes`]); larger buffers are freed at once.

/// How many buffers of chunks are kept, and the largest of them.
const CHUNKS: usize = 16;
const CHUNK_BYTES: usize = 256 * 1024;
/// How many bodies are kept, and the largest of them.
const BODIES: usize = 2;
const BODY_BYTES: usize = 1024 * 1024;

/// Most bytes that a partition keeps without a permit, if it may hold `partition_bytes`.
#[must_use]
pub fn kept_bytes(partition_bytes: u64) -> u64 {
    const MOST: u64 = (CHUNKS * CHUNK_BYTES + BODIES * BODY_BYTES) as u64;
    (partition_bytes / 8).min(MOST)
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Spares {
    /// Emptied buffers of chunks.
    chunks: Vec<Vec<u8>>,
    /// How many of them are kept.
    chunks_most: usize,
    /// Emptied bodies of requests.
    bodies: Vec<Vec<u8>>,
    /// How many of them are kept.
    bodies_most: usize,
}

impl Default for Spares {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            chunks_most: CHUNKS,
            bodies: Vec::new(),
            bodies_most: BODIES,
        }
    }
}

impl Spares {
    pub fn keep_at_most(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.chunks_most = (bytes / 3 * 2 / CHUNK_BYTES).min(CHUNKS);
        self.bodies_most = (bytes / 3 / BODY_BYTES).min(BODIES);
    }

    pub fn chunk(&mut self) -> Vec<u8> {
        self.chunks.pop().unwrap_or_default()
    }

    pub fn body(&mut self) -> Vec<u8> {
        self.bodies.pop().unwrap_or_default()
    }

    pub fn keep_chunk(&mut self, mut buffer: Vec<u8>) {
        if self.chunks.len() < self.chunks_most && buffer.capacity() <= CHUNK_BYTES {
            buffer.clear();
            self.chunks.push(buffer);
        }
    }

    pub fn keep_body(&mut self, mut body: Vec<u8>) {
        // Only the part of a buffer that was ever filled is resident memory.
        if self.bodies.len() < self.bodies_most && body.len() <= BODY_BYTES {
            body.clear();
            self.bodies.push(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        for partition_bytes in [64 << 20, 8 << 20, 1 << 20] {
            let (mut spares, allowed) = (Spares::default(), kept_bytes(partition_bytes));
            spares.keep_at_most(allowed);
            for _ in 0..100 {
                spares.keep_chunk(Vec::with_capacity(CHUNK_BYTES));
                spares.keep_body(vec![0; BODY_BYTES]);
                spares.keep_body(vec![0; BODY_BYTES + 1]);
                spares.keep_chunk(Vec::with_capacity(CHUNK_BYTES + 1));
            }
            let kept = spares.chunks.iter().chain(&spares.bodies);
            let kept: usize = kept.map(Vec::capacity).sum();
            assert!(kept as u64 <= allowed, "{kept} of {allowed}");
        }
        let mut spares = Spares::default();
        spares.keep_at_most(kept_bytes(u64::MAX));
        assert_eq!((spares.chunks_most, spares.bodies_most), (CHUNKS, BODIES));
    }
}
