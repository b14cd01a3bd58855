//! Brings the published OpenAPI 3.0 file into the normal form of our own schema, so that the two can be compared and
//! either can judge an exchange.
//!
//! What is changed on the way, and why: `nullable` becomes a type; `allOf` is merged, because the base record forbids further
//! members and so, taken literally, every record type (src/dig/API.md 5.10); an invalid record's `BaseRecord` is any record with
//! its own members, as the file's example shows; `Type` is the schema's name; the base record's "all fields are
//! required" is taken from its description; `int16` becomes its bounds; formats nobody can check go.

use serde_json::{Map, Value, json};

const SCHEMAS: &str = "#/components/schemas/";

/// The normal form of a published file.
pub fn normal_form(yaml: &str) -> Value {
    let file: Value = serde_saphyr::from_str(yaml).expect("the published file is YAML");
    let schemas = file["components"]["schemas"]
        .as_object()
        .expect("components.schemas");
    let mut defs = Map::new();
    let records: Vec<&String> = schemas
        .keys()
        .filter(|name| is_record(schemas, name))
        .collect();
    for (name, schema) in schemas {
        if name != "BaseRecord" {
            defs.insert(name.clone(), definition(schemas, name, schema));
        }
    }
    let mut names: Vec<&str> = records.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let any: Vec<Value> = names
        .iter()
        .map(|name| json!({"$ref": format!("#/$defs/{name}")}))
        .collect();
    defs.insert("AnyRecord".to_owned(), json!({"anyOf": any}));
    let mut operations = Map::new();
    for (path, methods) in file["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name = format!("{} {path}", method.to_uppercase());
            operations.insert(name, normal_operation(operation, &names));
        }
    }
    json!({"operations": operations, "$defs": defs})
}

fn is_record(schemas: &Map<String, Value>, name: &str) -> bool {
    let Some(parts) = schemas[name].get("allOf").and_then(Value::as_array) else {
        return false;
    };
    parts
        .iter()
        .filter_map(|part| part["$ref"].as_str())
        .any(|target| {
            let target = target.trim_start_matches(SCHEMAS);
            target == "BaseRecord" || is_record(schemas, target)
        })
}

fn definition(schemas: &Map<String, Value>, name: &str, schema: &Value) -> Value {
    if !is_record(schemas, name) {
        let mut plain = normal_schema(schema);
        if name == "InvalidRecord" {
            plain["properties"]["BaseRecord"] = json!({"$ref": "#/$defs/AnyRecord"});
        }
        return plain;
    }
    let mut properties = Map::new();
    merge(schemas, schema, &mut properties);
    let base = schemas["BaseRecord"]["description"]
        .as_str()
        .unwrap_or_default();
    assert!(
        base.contains("all fields are required"),
        "the base record says what it requires: {base}"
    );
    let mut required: Vec<_> = schemas["BaseRecord"]["properties"]
        .as_object()
        .expect("members")
        .keys()
        .cloned()
        .collect();
    required.sort_unstable();
    properties.insert("Type".to_owned(), json!({"const": name}));
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn merge(schemas: &Map<String, Value>, schema: &Value, properties: &mut Map<String, Value>) {
    if let Some(target) = schema["$ref"].as_str() {
        merge(
            schemas,
            &schemas[target.trim_start_matches(SCHEMAS)],
            properties,
        );
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        merge(schemas, part, properties);
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        properties.insert(name.clone(), normal_schema(member));
    }
}

fn normal_schema(schema: &Value) -> Value {
    if let Some(target) = schema["$ref"].as_str() {
        return json!({"$ref": target.replace(SCHEMAS, "#/$defs/")});
    }
    let mut normal = Map::new();
    for (key, value) in schema.as_object().expect("a schema is an object") {
        match key.as_str() {
            "description" | "example" | "nullable" => {}
            "format" if value == "date-time" || value == "uuid" => {
                drop(normal.insert(key.clone(), value.clone()))
            }
            "format" if value == "int16" => {
                normal.insert("minimum".to_owned(), json!(i16::MIN));
                normal.insert("maximum".to_owned(), json!(i16::MAX));
            }
            "format" => {}
            "type" if schema["nullable"] == true => {
                drop(normal.insert(key.clone(), json!([value, "null"])))
            }
            "properties" => {
                let members = value.as_object().expect("members");
                let members: Map<_, _> = members
                    .iter()
                    .map(|(name, member)| (name.clone(), normal_schema(member)))
                    .collect();
                normal.insert(key.clone(), members.into());
            }
            "items" => drop(normal.insert(key.clone(), normal_schema(value))),
            "required" => {
                let mut names: Vec<_> = value
                    .as_array()
                    .expect("names")
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                names.sort_unstable();
                normal.insert(key.clone(), json!(names));
            }
            _ => drop(normal.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(normal)
}

fn content(part: &Value) -> Option<&Value> {
    part.get("content")?.get("application/json")?.get("schema")
}

fn normal_operation(operation: &Value, records: &[&str]) -> Value {
    let request = operation
        .get("requestBody")
        .and_then(content)
        .map(|schema| {
            let Some(any) = schema["items"]["anyOf"].as_array() else {
                return normal_schema(schema);
            };
            let mut names: Vec<_> = any
                .iter()
                .filter_map(|one| one["$ref"].as_str())
                .map(|one| one.trim_start_matches(SCHEMAS))
                .collect();
            names.sort_unstable();
            assert_eq!(names, records, "every record type may be sent");
            let mut list = schema.clone();
            list["items"] = json!({"$ref": format!("{SCHEMAS}AnyRecord")});
            normal_schema(&list)
        });
    let answers: Map<String, Value> = operation["responses"]
        .as_object()
        .expect("responses")
        .iter()
        .map(|(status, answer)| {
            let target = content(answer)
                .and_then(|schema| schema["$ref"].as_str())
                .expect("a named schema");
            (status.clone(), json!(target.trim_start_matches(SCHEMAS)))
        })
        .collect();
    let query: Map<String, Value> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| {
            assert_eq!(parameter["in"], "query");
            (
                parameter["name"].as_str().expect("a name").to_owned(),
                normal_schema(&parameter["schema"]),
            )
        })
        .collect();
    json!({"bearer": operation.get("security").is_some(), "request": request, "query": query, "answers": answers})
}
