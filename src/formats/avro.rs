//! Avro: a schema, how its messages are read, and their bytes as JSON.
//!
//! The binary form is small, and a tree of values between it and JSON would cost several times the JSON itself; so the bytes are
//! written as JSON directly, by a plan that is made once per schema. `apache-avro` is what the tests compare with.
//!
//! | Avro | JSON |
//! |---|---|
//! | `int`, `long`, `float`, `double` | number; NaN is `null` |
//! | `bytes`, `fixed` | text in Base64 |
//! | `decimal` | number, as text above 64 bits |
//! | `timestamp-*` | text in RFC 3339, UTC |
//! | `local-timestamp-*`, `date`, `time-*` | the same without zone, date or time |
//! | `uuid`, `enum` | text |
//! | `duration` | text such as `P1M2DT3.004S` |
//! | union | its value |

mod decode;
mod plan;
mod schema;

pub use plan::Plan;
pub use schema::Schema;
