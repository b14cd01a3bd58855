//! Formats: what the bytes of a topic's messages are, if they are not plain JSON.
//!
//! ```text
//! message ─► header: schema id ─► schema (kept, else asked for: the partition waits) ─► JSON in a buffer ─► record::decode
//!               │                   │ unknown, unfit                     │ does not fit
//!               └───────────────────┴──────────── reject: letter ────────┘
//! ```
//!
//! A decoded message meets the same mapping, validation and letters as JSON does. Owns the settings of formats, the client of the
//! schema registry with the schemas it gave, and the decoders of Avro and Protobuf. Everything but [`client`] and [`schemas`] is
//! pure.
//!
//! "Registry" alone is the device registry elsewhere in this program; the one of schemas is always called schema registry.

pub mod avro;
pub mod client;
pub mod fault;
pub mod json;
pub mod protobuf;
pub mod reader;
pub mod schemas;
pub mod settings;
pub mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

pub use self::fault::{Fault, RULES};
pub use self::json::Limits;
pub use self::reader::{Call, Intake, Missing, Reader, Source};
pub use self::schemas::{Coming, Compiled, Progress, Schemas, View};
pub use self::settings::{Config, Format, Topic};

/// Largest schema file that is read.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The formats of a job's topics, ready to be used.
#[derive(Default)]
pub struct Formats {
    sources: BTreeMap<String, Source>,
    /// The schemas of the schema registry, if a topic needs it.
    schemas: Option<Arc<Schemas>>,
}

impl Formats {
    /// Reads the schema files that the settings name. Asks nobody.
    ///
    /// # Errors
    /// A file that cannot be read or is no schema, and an address that cannot be used, with the setting.
    pub fn open(topics: &BTreeMap<String, Topic>, registry: &Config) -> anyhow::Result<Self> {
        let mut formats = Self::default();
        for (number, (topic, wanted)) in topics.iter().enumerate() {
            let source = formats
                .source(number as u32, wanted, registry)
                .with_context(|| format!("input.formats.\"{topic}\""))?;
            if let Some(source) = source {
                formats.sources.insert(topic.clone(), source);
            }
        }
        Ok(formats)
    }

    fn source(
        &mut self,
        number: u32,
        topic: &Topic,
        registry: &Config,
    ) -> anyhow::Result<Option<Source>> {
        topic.check().map_err(|why| anyhow!(why))?;
        match topic.format {
            Format::Json => return Ok(None),
            Format::JsonWithHeader => return Ok(Some(Source::JsonWithHeader)),
            Format::Avro | Format::Protobuf => {}
        }
        let reader = topic
            .reader_schema
            .as_deref()
            .map(avro_schema)
            .transpose()?;
        if let Some(file) = &topic.schema {
            let compiled = compiled(file, topic.format, reader.as_ref())?;
            let ty = compiled.message_type(topic.message.as_deref());
            let ty = ty.map_err(|fault| in_file(file, &fault))?;
            return Ok(Some(Source::Fixed(Arc::new(compiled), ty)));
        }
        let schemas = match &self.schemas {
            Some(schemas) => Arc::clone(schemas),
            None => {
                anyhow::ensure!(
                    !registry.urls.is_empty(),
                    "the format {} needs a schema registry: set schema_registry.urls, or give the topic a `schema` file",
                    topic.format.name()
                );
                let schemas = Schemas::new(registry)?;
                self.schemas = Some(Arc::clone(&schemas));
                schemas
            }
        };
        let view = View {
            number,
            format: topic.format,
            reader,
        };
        Ok(Some(Source::Registry(schemas, Arc::new(view))))
    }

    /// The topics whose messages name their schema, and how they are read.
    pub fn views(&self) -> impl Iterator<Item = (&str, &Arc<View>)> {
        self.sources
            .iter()
            .filter_map(|(topic, source)| match source {
                Source::Registry(_, view) => Some((topic.as_str(), view)),
                Source::JsonWithHeader | Source::Fixed(..) => None,
            })
    }

    /// A reader of the topic's messages; `None` for plain JSON.
    #[must_use]
    pub fn reader(&self, topic: &str, limits: Limits) -> Option<Reader> {
        let source = self.sources.get(topic)?;
        Some(Reader::new(source.clone(), limits))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = file.display();
    let length = std::fs::metadata(file)
        .with_context(|| format!("{shown}: cannot read the schema"))?
        .len();
    anyhow::ensure!(
        length <= FILE_BYTES,
        "{shown}: the schema has {length} bytes, at most {FILE_BYTES} are read"
    );
    std::fs::read(file).with_context(|| format!("{shown}: cannot read the schema"))
}

fn in_file(file: &Path, fault: &Fault) -> anyhow::Error {
    anyhow!(
        "{}: {}; expected {}",
        file.display(),
        fault.value,
        fault.bound
    )
}

fn avro_schema(file: &Path) -> anyhow::Result<avro::Schema> {
    let text = String::from_utf8(read(file)?)
        .with_context(|| format!("{}: the schema is not UTF-8", file.display()))?;
    avro::Schema::parse(&text, &[]).map_err(|fault| in_file(file, &fault))
}

fn compiled(
    file: &Path,
    format: Format,
    reader: Option<&avro::Schema>,
) -> anyhow::Result<Compiled> {
    if format == Format::Protobuf {
        let plan = protobuf::Plan::of_file(file, &read(file)?);
        let plan = plan.map_err(|fault| in_file(file, &fault))?;
        return Ok(Compiled::Protobuf(plan));
    }
    let writer = avro_schema(file)?;
    let plan = avro::Plan::new(&writer, reader).map_err(|fault| in_file(file, &fault))?;
    Ok(Compiled::Avro(plan))
}
