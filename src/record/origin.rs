//! What Kafka says of a message beside its payload, for mappings that read it. Borrowed from the message; nothing is copied.

/// Finds a header's value by name; of several of one name the last.
///
/// A trait so that `record` stays free of the Kafka client and a message's headers are looked at only where a mapping names one.
pub trait Headers {
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// Calls `with` for every header whose name is UTF-8, in their order.
    fn each(&self, with: &mut dyn FnMut(&str, &[u8]));
}

impl Headers for () {
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn each(&self, _with: &mut dyn FnMut(&str, &[u8])) {}
}

impl Headers for Vec<(String, Vec<u8>)> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice())
    }

    fn each(&self, with: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self {
            with(name, value);
        }
    }
}

/// Where a message came from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// Empty when it came from nowhere in Kafka.
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub headers: &'a dyn Headers,
}

impl Origin<'static> {
    /// Of a message that did not come from Kafka.
    pub const NONE: Self = Self {
        topic: "",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        headers: &(),
    };
}
