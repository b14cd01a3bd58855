//! The format of messages in a file, for the commands that read some: the flags, and reading with them.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::Settings;
use crate::formats::{Call, Format, Formats, Intake, Limits, Topic};
use crate::record::decode::Decoder;
use crate::record::validate::Rules;
use crate::record::{Decoded, SerialOf};

/// The name under which the format is known to the settings' own machinery; no topic has it.
const NAME: &str = "--format";

/// Flags that say what the bytes of the messages are.
#[derive(Debug, Clone, clap::Args)]
pub struct FormatArgs {
    /// Format of the messages; in another format than json the file is one message.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Schema file (.avsc, .proto or a set of file descriptors) of messages without header; without it the message names its schema,
    /// and the schema registry of the settings is asked.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Reader schema (avro).
    #[arg(long, value_name = "FILE")]
    reader_schema: Option<PathBuf>,
    /// Message type (protobuf with --schema), by its full name.
    #[arg(long, value_name = "NAME")]
    message_type: Option<String>,
}

impl FormatArgs {
    /// Whether a file may hold several messages.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// What turns messages of this format into records.
    ///
    /// # Errors
    /// A schema file that cannot be used, or no schema registry in the settings.
    pub fn intake(
        &self,
        settings: &Settings,
        rules: &Rules,
        decoder: Decoder,
    ) -> anyhow::Result<Intake> {
        let topic = Topic {
            format: self.format,
            schema: self.schema.clone(),
            reader_schema: self.reader_schema.clone(),
            message: self.message_type.clone(),
        };
        let topics = [(NAME.to_owned(), topic)].into();
        let formats = Formats::open(&topics, &settings.schema_registry)
            .with_context(|| format!("--format {}", self.format.name()))?;
        let reader = formats.reader(NAME, Limits::of(rules));
        Ok(Intake::new(reader, decoder))
    }
}

/// Decodes a message, and asks for its schema if need be.
///
/// # Errors
/// The schema registry does not answer.
pub async fn decode(
    intake: &mut Intake,
    message: &[u8],
    call: Call<'_, impl SerialOf>,
    out: &mut Decoded,
) -> anyhow::Result<()> {
    while let Err(missing) = intake.decode(Some(message), call, out) {
        let Some(reader) = intake.reader() else { break };
        reader.fetch(missing).await?;
    }
    Ok(())
}
