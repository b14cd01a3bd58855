//! Formats other than JSON: what their bytes become, and the schema registry that names their schemas.

mod adversary;
mod avro;
mod commands;
mod hostile;
mod protobuf;
mod registry;
mod running;

use std::sync::Arc;

use dig_ingest::formats::reader::{Reader, Source};
use dig_ingest::formats::{Compiled, Fault, Limits, avro as format};
use serde_json::Value;

/// What a job has by default.
const LIMITS: Limits = Limits {
    bytes: 1024 * 1024,
    depth: 32,
};

/// The JSON of a message, or what is wrong with it.
fn read(schema: &Arc<Compiled>, ty: usize, message: &[u8]) -> Result<Value, Fault> {
    text(schema, ty, message).map(|text| {
        serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
    })
}

fn text(schema: &Arc<Compiled>, ty: usize, message: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut reader = Reader::new(Source::Fixed(Arc::clone(schema), ty), LIMITS);
    let read = reader.read(message).expect("its schema is here");
    read.map(<[u8]>::to_vec)
}

fn avro_of(writer: &str, reader: Option<&str>) -> Result<Arc<Compiled>, Fault> {
    let parse = |text: &str| format::Schema::parse(text, &[]).map_err(|fault| *fault);
    let reader = reader.map(parse).transpose()?;
    let plan = format::Plan::new(&parse(writer)?, reader.as_ref()).map_err(|fault| *fault)?;
    Ok(Arc::new(Compiled::Avro(plan)))
}
