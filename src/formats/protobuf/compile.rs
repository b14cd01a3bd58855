//! The text of a `.proto` file, with the files it imports, compiled to a [`Plan`].
//!
//! `protox` does the compiling. Bounds: the length of the texts (by the caller) and the nesting of braces, because the compiler
//! descends by recursion. The files of `google/protobuf` and [`BUILT_IN`] are built in.

use std::collections::HashMap;
use std::path::Path;

use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};
use protox::prost_reflect::DescriptorPool;

use super::Plan;
use crate::formats::fault::{Checked, Fault};

/// The name under which the main text is compiled; no import can have it.
const MAIN: &str = "message.proto";
/// Most braces in each other.
const NESTED: usize = 64;

/// Files that a schema registry knows without a reference, besides those of `google/protobuf`.
const BUILT_IN: [(&str, &str); 3] = [
    (
        "confluent/meta.proto",
        r#"syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
"#,
    ),
    (
        "confluent/type/decimal.proto",
        r#"syntax = "proto3";
package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
"#,
    ),
    (
        "google/type/latlng.proto",
        r#"syntax = "proto3";
package google.type;
message LatLng { double latitude = 1; double longitude = 2; }
"#,
    ),
];

/// Texts by the name under which they are imported.
struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn wrong(error: &protox::Error) -> Box<Fault> {
    Fault::schema(error.to_string(), "a valid Protobuf schema")
}

impl Plan {
    /// Compiles a text and what it imports, each with the name under which it is imported.
    ///
    /// # Errors
    /// The text is no schema, or an import is missing.
    pub fn of_text(text: &str, imports: Vec<(String, String)>) -> Checked<Self> {
        let mut texts: HashMap<String, String> = imports.into_iter().collect();
        texts.insert(MAIN.to_owned(), text.to_owned());
        for (name, text) in BUILT_IN {
            texts
                .entry(name.to_owned())
                .or_insert_with(|| text.to_owned());
        }
        for text in texts.values() {
            nested(text)?;
        }
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(texts));
        resolver.add(GoogleFileResolver::new());
        compiled(resolver, MAIN)
    }

    /// Reads a file: a `.proto`, whose imports lie below its own directory, or a set of descriptors as `protoc
    /// --descriptor_set_out --include_imports` writes it.
    ///
    /// # Errors
    /// The file is no schema, or an import is missing.
    pub fn of_file(path: &Path, bytes: &[u8]) -> Checked<Self> {
        if path.extension().is_none_or(|ending| ending != "proto") {
            let pool = DescriptorPool::decode(bytes)
                .map_err(|error| Fault::schema(error.to_string(), "a set of file descriptors"))?;
            // The file that was compiled is the last one: it comes behind those that it imports.
            let last = pool.files().last();
            let name = last.map_or_else(String::new, |file| file.name().to_owned());
            return Self::new(&pool, &name);
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Fault::schema("the file is not UTF-8", "a .proto file"))?;
        nested(text)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut resolver = ChainFileResolver::new();
        resolver.add(IncludeFileResolver::new(folder.to_owned()));
        resolver.add(GoogleFileResolver::new());
        compiled(resolver, &name)
    }
}

fn compiled(resolver: impl FileResolver + 'static, name: &str) -> Checked<Plan> {
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    let result = compiler.open_file(name);
    result.map_err(|error| wrong(&error))?;
    Plan::new(&compiler.descriptor_pool(), name)
}

/// Refuses a text whose braces are nested too deeply.
fn nested(text: &str) -> Checked {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTED {
            return Err(Fault::schema(
                format!("more than {NESTED} braces in each other"),
                "a schema that is nested less deeply",
            ));
        }
    }
    Ok(())
}
