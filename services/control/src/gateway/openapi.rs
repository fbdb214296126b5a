//! The OpenAPI 3.1 document of the gateway, made of the descriptors and the comments of `control.proto`.

use std::collections::{BTreeMap, BTreeSet};

use proto::json::prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::binding::{FIELD_MASK, field};
use super::routes::{Route, Routes, Segment};
use comments::Comment;

mod comments;

/// What every answer but the wanted one is.
const ERROR: &str = "A refusal. `error.status` is the gRPC code; `error.details` has a `google.rpc.ErrorInfo` with a reason \
                     for programs, where fields are wrong a `google.rpc.BadRequest`, and where trying again helps a \
                     `google.rpc.RetryInfo`, whose delay is in the header `Retry-After`, too.";

/// The document as it is committed in `docs/openapi.json`.
pub(super) fn document(routes: &Routes) -> String {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut tags = BTreeMap::new();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for route in routes.iter() {
        let service = route.method.parent_service();
        tags.insert(tag(route), Comment::of(&service.parent_file(), service.path()).whole());
        // Two templates that differ in nothing but the names of variables are one path, with the names of the first.
        let names =
            names.entry(template(route, |_| String::new())).or_insert_with(|| variables(route).map(plain).collect());
        let path = template(route, |nth| names.get(nth).cloned().unwrap_or_default());
        let operation = operation(route, names, &mut schemas);
        paths.entry(path).or_default().insert(route.verb.as_str().to_lowercase(), operation);
    }
    let file = proto::json::descriptors().files().find(|file| file.package_name() == PACKAGE);
    let about = file.map(|file| Comment::of(&file, &[SYNTAX]).whole()).unwrap_or_default();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fanfare control API",
            "version": "v1",
            "description": about,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The control listener." }],
        "security": [{ "bearer": [] }, { "certificate": [] }],
        "tags": tags.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A token of the control plane." },
                "certificate": { "type": "mutualTLS", "description": "A client certificate that names a scope." },
            },
            "responses": { "Error": {
                "description": ERROR,
                "content": { "application/json": { "schema": reference("Error") } },
            } },
            "schemas": schemas.complete(),
        },
    });
    format!("{document:#}\n")
}

/// Ours; what it takes from others' files is no part of the document.
const PACKAGE: &str = "fanfare.control.v1";

/// Where the comment at the beginning of a file is: at its `syntax` (field 12 of FileDescriptorProto).
const SYNTAX: i32 = 12;

fn operation(route: &Route, names: &[String], schemas: &mut Schemas) -> Value {
    let method = &route.method;
    let comment = Comment::of(&method.parent_file(), method.path());
    let bound: Vec<&str> = variables(route).collect();
    let input = method.input();
    let mut parameters = Vec::new();
    for (path, name) in bound.iter().zip(names) {
        parameters.extend(at(&input, path).map(|field| parameter(&field, name, "path", schemas)));
    }
    let rest: Vec<_> = input.fields().filter(|field| !bound.contains(&field.name())).collect();
    let mut operation = json!({
        "tags": [tag(route)],
        "operationId": camel(method.name()),
        "summary": comment.first_sentence(),
        "description": comment.whole(),
        "responses": { "200": answer(route, schemas), "default": { "$ref": "#/components/responses/Error" } },
    });
    if route.has_body {
        if !rest.is_empty() {
            schemas.set(&input, &rest);
            let schema = schemas.of(&input);
            operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
        }
    } else {
        // None of them is a message; a message's fields would each be a parameter of their own.
        parameters.extend(rest.iter().map(|field| parameter(field, field.name(), "query", schemas)));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation
}

fn parameter(field: &FieldDescriptor, name: &str, place: &str, schemas: &mut Schemas) -> Value {
    json!({
        "name": name,
        "in": place,
        "required": place == "path",
        "description": comment(field),
        "schema": schemas.value(field),
    })
}

fn answer(route: &Route, schemas: &mut Schemas) -> Value {
    let output = route.method.output();
    let schema = schemas.of(&output);
    let about = Comment::of(&output.parent_file(), output.path()).whole();
    if route.method.is_server_streaming() {
        let how = "One message after another: a line each, with empty lines as signs of life, or a server-sent event each. \
                   A stream that breaks ends with an `Error`.";
        let content =
            json!({ "application/x-ndjson": { "schema": schema }, "text/event-stream": { "schema": schema } });
        json!({ "description": how, "content": content })
    } else {
        let about = if about.is_empty() { "Done." } else { &about };
        json!({ "description": about, "content": { "application/json": { "schema": schema } } })
    }
}

/// Schemas of messages and enums, and those that have to be made yet.
#[derive(Default)]
struct Schemas {
    made: BTreeMap<String, Value>,
    named: BTreeSet<String>,
}

impl Schemas {
    /// The schema of a message, by reference.
    fn of(&mut self, message: &MessageDescriptor) -> Value {
        let name = short(message.full_name());
        // First named, then made, since a message may hold itself.
        if self.named.insert(name.clone()) {
            let fields: Vec<_> = message.fields().collect();
            self.set(message, &fields);
        }
        reference(&name)
    }

    /// Makes the schema of a message that has these fields.
    fn set(&mut self, message: &MessageDescriptor, fields: &[FieldDescriptor]) {
        let name = short(message.full_name());
        self.named.insert(name.clone());
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.name().to_owned(), self.property(field))).collect();
        let about = Comment::of(&message.parent_file(), message.path()).whole();
        self.made.insert(name, with_text(json!({ "type": "object", "properties": properties }), "description", about));
    }

    /// A field with what is said about it.
    fn property(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.value(field);
        if field.supports_presence() {
            schema = match schema.get("type").cloned() {
                Some(kind) => {
                    schema["type"] = json!([kind, "null"]);
                    schema
                }
                None => json!({ "anyOf": [schema, { "type": "null" }] }),
            };
        }
        with_text(schema, "description", comment(field))
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let value = self.single(&entry.map_entry_value_field().kind());
                json!({ "type": "object", "additionalProperties": value })
            }
            kind if field.is_list() => json!({ "type": "array", "items": self.single(&kind) }),
            kind => self.single(&kind),
        }
    }

    fn single(&mut self, kind: &Kind) -> Value {
        let integer = |format: &str| json!({ "type": "integer", "format": format });
        let natural = |format: &str| json!({ "type": "integer", "format": format, "minimum": 0 });
        match kind {
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer("int32"),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer("int64"),
            Kind::Uint32 | Kind::Fixed32 => natural("uint32"),
            Kind::Uint64 | Kind::Fixed64 => natural("uint64"),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Message(mask) if mask.full_name() == FIELD_MASK => {
                json!({ "type": "string", "description": "Names of fields, between commas." })
            }
            Kind::Message(message) => self.of(message),
            Kind::Enum(kind) => {
                let name = short(kind.full_name());
                let values = kind.values().map(|value| {
                    let about = Comment::of(&kind.parent_file(), value.path()).whole();
                    (value.name().to_owned(), about)
                });
                let values: Vec<_> = values.collect();
                let list = values.iter().filter(|(_, about)| !about.is_empty());
                let list: String = list.map(|(name, about)| format!("\n- `{name}`: {about}")).collect();
                let about = Comment::of(&kind.parent_file(), kind.path()).whole();
                let about = if list.is_empty() { about } else { format!("{about}\n{list}").trim().to_owned() };
                let names: Vec<_> = values.into_iter().map(|(name, _)| name).collect();
                let schema = with_text(json!({ "type": "string", "enum": names }), "description", about);
                self.made.insert(name.clone(), schema);
                reference(&name)
            }
        }
    }

    /// All of them, with the one that is no message of ours.
    fn complete(mut self) -> BTreeMap<String, Value> {
        let error = json!({
            "type": "object",
            "required": ["error"],
            "properties": { "error": {
                "type": "object",
                "required": ["code", "status", "message", "details"],
                "properties": {
                    "code": { "type": "integer", "description": "The HTTP status." },
                    "status": { "type": "string", "description": "The gRPC code, as in `NOT_FOUND`." },
                    "message": { "type": "string", "description": "What is wrong, for people." },
                    "details": { "type": "array", "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {
                            "@type": { "type": "string" },
                            "reason": { "type": "string", "description": "Of an ErrorInfo: a word for programs." },
                            "domain": { "type": "string", "description": "Of an ErrorInfo: `fanfare`." },
                            "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
                            "field_violations": {
                                "type": "array",
                                "description": "Of a BadRequest: every wrong field.",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "field": { "type": "string" },
                                        "description": { "type": "string" },
                                    },
                                },
                            },
                            "retry_delay": { "type": "string", "description": "Of a RetryInfo, as in `0.5s`." },
                        },
                    } },
                },
            } },
        });
        self.made.insert("Error".to_owned(), error);
        self.made
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn with_text(mut schema: Value, key: &str, text: String) -> Value {
    if !text.is_empty() {
        schema[key] = text.into();
    }
    schema
}

fn comment(field: &FieldDescriptor) -> String {
    Comment::of(&field.parent_message().parent_file(), field.path()).whole()
}

fn tag(route: &Route) -> String {
    route.method.parent_service().name().to_owned()
}

fn short(full_name: &str) -> String {
    full_name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(full_name).to_owned()
}

/// `GetApp` as `getApp`.
fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// The field at a path such as `app.id`.
fn at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        None => field(message, path),
        Some((first, rest)) => at(field(message, first)?.kind().as_message()?, rest),
    }
}

/// The last name of a path such as `app.id`.
fn plain(path: &str) -> String {
    path.rsplit('.').next().unwrap_or(path).to_owned()
}

fn variables(route: &Route) -> impl Iterator<Item = &str> {
    route.segments.iter().filter_map(|segment| match segment {
        Segment::Variable(field) => Some(field.as_str()),
        Segment::Literal(_) => None,
    })
}

/// The path of a route, each variable with the name that it shall have.
fn template(route: &Route, name: impl Fn(usize) -> String) -> String {
    let mut nth = 0;
    let mut path = String::new();
    for segment in &route.segments {
        path.push('/');
        match segment {
            Segment::Literal(literal) => path.push_str(literal),
            Segment::Variable(_) => {
                path.push_str(&format!("{{{}}}", name(nth)));
                nth += 1;
            }
        }
    }
    if let Some(action) = &route.action {
        path.push(':');
        path.push_str(action);
    }
    path
}
