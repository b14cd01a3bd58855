//! A partition's messages, whatever their format, as what the mapping and the validation read.
//!
//! Owns the JSON of the message in hand, and the schema that was used last; one per worker. A message is decoded to JSON in a
//! reused buffer, and goes through the same decoder as a message that came as JSON. What is made of it refers to the message as it
//! was: letters keep the original bytes.
//!
//! It waits for nothing: a schema that is not here is [`Missing`], and the same message is given again once it is.

use std::sync::Arc;

use anyhow::Context as _;

use super::fault::{Checked, Fault, HEADER, SCHEMA, SIZE};
use super::json::{Json, Limits};
use super::protobuf;
use super::schemas::{Answer, Coming, Compiled, Schemas, View};
use super::wire;
use crate::record::decode::Decoder;
use crate::record::origin::Origin;
use crate::record::{Decoded, SerialOf};

/// Bytes of each buffer that are kept for the next message; a larger one is given back.
const KEPT: usize = 256 * 1024;

/// What the messages of a topic are.
#[derive(Clone)]
pub enum Source {
    /// JSON behind a header.
    JsonWithHeader,
    /// Messages that name their schema.
    Registry(Arc<Schemas>, Arc<View>),
    /// Messages of one schema; for Protobuf with the message type.
    Fixed(Arc<Compiled>, usize),
}

/// A schema that has to be asked for before the message can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing(pub u32);

/// See the module.
pub struct Reader {
    source: Source,
    limits: Limits,
    /// The message in hand as JSON.
    json: Vec<u8>,
    seen: Vec<protobuf::Seen>,
    /// The schema of the message before: most messages have the same one.
    last: Option<(u32, Arc<Compiled>)>,
    /// What the registry said of a schema, for the next message of it: it may not be kept elsewhere for so long.
    told: Option<(u32, Answer)>,
}

impl Reader {
    #[must_use]
    pub fn new(source: Source, limits: Limits) -> Self {
        Self {
            source,
            limits,
            json: Vec::new(),
            seen: Vec::new(),
            last: None,
            told: None,
        }
    }

    /// Asks for a schema that is missing. Needs a runtime.
    #[must_use]
    pub fn ask(&self, Missing(id): Missing) -> Option<Coming> {
        match &self.source {
            Source::Registry(schemas, view) => Some(schemas.ask(id, view)),
            Source::JsonWithHeader | Source::Fixed(..) => None,
        }
    }

    /// Takes the registry's answer for a schema that was missing.
    pub fn tell(&mut self, id: u32, answer: Answer) {
        self.told = Some((id, answer));
    }

    /// Asks for a schema that is missing, and takes the answer.
    ///
    /// # Errors
    /// The schema registry does not answer.
    pub async fn fetch(&mut self, missing: Missing) -> anyhow::Result<()> {
        let Missing(id) = missing;
        let mut coming = self
            .ask(missing)
            .with_context(|| format!("nobody can be asked for the schema with id {id}"))?;
        match coming.settled().await {
            Ok(answer) => self.tell(id, answer),
            Err(trouble) => anyhow::bail!(
                "the schema with id {id} cannot be asked for: {}; {}",
                trouble.cause,
                trouble.remedy
            ),
        }
        Ok(())
    }

    /// The message as JSON, or why it is none.
    ///
    /// # Errors
    /// Its schema is missing.
    pub fn read(&mut self, message: &[u8]) -> Result<Result<&[u8], Fault>, Missing> {
        if self.json.capacity() > KEPT {
            self.json = Vec::new();
        }
        if self.seen.capacity() * size_of::<protobuf::Seen>() > KEPT {
            self.seen = Vec::new();
        }
        if message.len() > self.limits.bytes {
            let most = self.limits.bytes;
            return Ok(Err(*Fault::new(
                SIZE,
                format!("{} bytes", message.len()),
                format!("at most {most} bytes (validate.max_message_bytes)"),
            )));
        }
        let read = match &self.source {
            Source::JsonWithHeader => wire::split(message).map(|(_, rest)| {
                self.json.clear();
                self.json.extend_from_slice(rest);
            }),
            Source::Fixed(schema, ty) => {
                let schema = Arc::clone(schema);
                self.decode(&schema, Some(*ty), message)
            }
            Source::Registry(..) => match wire::split(message) {
                Err(fault) => Err(fault),
                Ok((id, rest)) => match self.schema(id)? {
                    Err(fault) => Err(Box::new((*fault).clone())),
                    Ok(schema) => self.decode(&schema, None, rest),
                },
            },
        };
        Ok(match read {
            Ok(()) => Ok(&self.json),
            Err(fault) => Err(*fault),
        })
    }

    fn schema(&mut self, id: u32) -> Result<Answer, Missing> {
        if let Some((_, last)) = self.last.as_ref().filter(|(last, _)| *last == id) {
            return Ok(Ok(Arc::clone(last)));
        }
        let told = self.told.take().filter(|(told, _)| *told == id);
        let answer = match (told, &self.source) {
            (Some((_, answer)), _) => answer,
            (None, Source::Registry(schemas, view)) => {
                schemas.known(id, view).ok_or(Missing(id))?
            }
            (None, _) => return Err(Missing(id)),
        };
        if let Ok(schema) = &answer {
            self.last = Some((id, Arc::clone(schema)));
        }
        Ok(answer)
    }

    /// Decodes a message of the schema; one of Protobuf names its type, if it is not given.
    fn decode(&mut self, schema: &Compiled, ty: Option<usize>, message: &[u8]) -> Checked {
        let mut json = Json::new(&mut self.json, self.limits);
        match schema {
            Compiled::Avro(plan) => plan.decode(message, &mut json),
            Compiled::Protobuf(plan) => {
                let (ty, message) = match ty {
                    Some(ty) => (ty, message),
                    None => {
                        let (place, rest) = wire::message_type(message)?;
                        let ty = plan.at_place(&place).ok_or_else(|| {
                            let types = plan.own_names().join(", ");
                            Fault::new(
                                HEADER,
                                format!("message type at {place:?}"),
                                format!("a place of the schema, which has {types}"),
                            )
                        })?;
                        (ty, rest)
                    }
                };
                plan.decode(ty, message, &mut self.seen, self.limits, &mut json)
            }
        }
    }
}

/// Turns messages of a topic into records: its format, if it is another than JSON, and what follows it.
pub struct Intake {
    reader: Option<Reader>,
    decoder: Decoder,
}

/// Where a message came from, the devices, and the time in microseconds since the epoch, as [`Decoder::decode_from`] takes them.
pub type Call<'a, D> = (&'a Origin<'a>, &'a D, i64);

impl Intake {
    #[must_use]
    pub fn new(reader: Option<Reader>, decoder: Decoder) -> Self {
        Self { reader, decoder }
    }

    /// The reader of the format, if there is one.
    pub fn reader(&mut self) -> Option<&mut Reader> {
        self.reader.as_mut()
    }

    /// The decoder of the JSON.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Takes over a new decoder and its bounds. Schemas stay: their ids never mean others.
    pub fn renew(&mut self, decoder: Decoder, limits: Limits) {
        self.decoder = decoder;
        if let Some(reader) = &mut self.reader {
            reader.limits = limits;
        }
    }

    /// As [`Decoder::decode_from`].
    ///
    /// # Errors
    /// The message's schema is missing; nothing was appended to `out`.
    #[inline]
    pub fn decode(
        &mut self,
        payload: Option<&[u8]>,
        call: Call<'_, impl SerialOf>,
        out: &mut Decoded,
    ) -> Result<(), Missing> {
        decode(self.reader.as_mut(), &mut self.decoder, payload, call, out)
    }

    /// As [`decode`](Self::decode) with another decoder of the JSON, if one is given; asks for a schema that is missing. Blocks the
    /// calling thread, which a runtime must have started for work that blocks.
    ///
    /// # Errors
    /// The schema registry does not answer.
    pub fn decode_asking(
        &mut self,
        other: Option<&mut Decoder>,
        payload: Option<&[u8]>,
        call: Call<'_, impl SerialOf>,
        out: &mut Decoded,
    ) -> anyhow::Result<()> {
        let decoder = other.unwrap_or(&mut self.decoder);
        while let Err(missing) = decode(self.reader.as_mut(), decoder, payload, call, out) {
            let Some(reader) = &mut self.reader else {
                break;
            };
            tokio::runtime::Handle::current().block_on(reader.fetch(missing))?;
        }
        Ok(())
    }
}

#[inline]
fn decode(
    reader: Option<&mut Reader>,
    decoder: &mut Decoder,
    payload: Option<&[u8]>,
    (origin, devices, now): Call<'_, impl SerialOf>,
    out: &mut Decoded,
) -> Result<(), Missing> {
    let (Some(reader), Some(message)) = (reader, payload) else {
        decoder.decode_from(payload, origin, devices, now, out);
        return Ok(());
    };
    match reader.read(message)? {
        Ok(json) => {
            let from = out.outcomes.len();
            decoder.decode_from(Some(json), origin, devices, now, out);
            out.refer_to_whole(from, json, message.len());
        }
        Err(fault) => out.refuse(fault.reject(message.len())),
    }
    Ok(())
}

impl Compiled {
    /// The message type of this name, or the only one of the schema.
    ///
    /// # Errors
    /// There is none of that name, or it is not clear which one is meant.
    pub fn message_type(&self, name: Option<&str>) -> Result<usize, Box<Fault>> {
        let Self::Protobuf(plan) = self else {
            return Ok(0);
        };
        let found = match name {
            Some(name) => plan.named(name),
            None => plan.only(),
        };
        found.ok_or_else(|| {
            let types = plan.own_names().join(", ");
            let what = match name {
                Some(name) => format!("no message type {name}"),
                None => "several message types, or none".to_owned(),
            };
            Fault::new(SCHEMA, what, format!("`message` with one of {types}"))
        })
    }
}
