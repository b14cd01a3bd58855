//! Protobuf: a schema compiled from its text, and messages of it as JSON.
//!
//! `protox` compiles the text (nothing but Rust, with `prost-reflect`'s descriptors); messages are written as JSON directly, by
//! a plan made once per schema. `prost-reflect` is what the tests compare with.
//!
//! | Protobuf | JSON |
//! |---|---|
//! | field | member of the name in the `.proto` file |
//! | number, 64 bits included | number; NaN is `null` |
//! | `bytes` | text in Base64 |
//! | enum | its name; its number if the schema has no name for it |
//! | `Timestamp` | text in RFC 3339, UTC |
//! | `Duration` | number of seconds |
//! | wrappers, `Struct`, `Value`, `ListValue` | what they stand for |
//! | absent field | nothing if the schema knows presence; zero, `""`, `false` or `[]` if not |

mod compile;
mod decode;
mod plan;

pub use decode::Seen;
pub use plan::Plan;
