//! Messages of the control API as JSON, and back, by their descriptors.
//!
//! Fields and enum values are named as in `control.proto`. Written, every field is there, in the order of the file and
//! map keys sorted: what is not set is its default, or `null` where the two can be told apart. Unlike in protobuf's own
//! JSON form, 64-bit numbers are numbers: ours stay below 2⁵³, where that would lose digits. Bytes are base64, and a
//! field mask is its paths between commas.
//!
//! Read is all of that, and what else protobuf's JSON form allows; `null` is not set, and a field that does not exist is
//! an error.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::{Message, Name};
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// Re-exported for those who go through messages by their descriptors.
pub use prost_reflect;

/// Full name of the one type with a JSON form of its own.
const FIELD_MASK: &str = "google.protobuf.FieldMask";

static POOL: LazyLock<prost_reflect::DescriptorPool> = LazyLock::new(|| {
    prost_reflect::DescriptorPool::decode(crate::control::FILE_DESCRIPTOR_SET).expect("committed descriptors are valid")
});

/// A text that is not the JSON form of the message that it should be.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadError(#[from] serde_json::Error);

/// Descriptors of everything in `control.proto`, with comments and HTTP annotations.
pub fn descriptors() -> &'static prost_reflect::DescriptorPool {
    &POOL
}

/// The descriptor of a message type.
pub fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("descriptors and code are generated from one file")
}

/// The message for those who know it only by its descriptor.
pub fn dynamic<M: Message + Name>(message: &M) -> DynamicMessage {
    let bytes = message.encode_to_vec();
    DynamicMessage::decode(descriptor::<M>(), bytes.as_slice()).expect("what was encoded can be decoded")
}

/// Reads the JSON form of a message of the type `descriptor`.
pub fn read(descriptor: MessageDescriptor, json: &str) -> Result<DynamicMessage, ReadError> {
    let mut json: serde_json::Value = serde_json::from_str(json)?;
    let is_mask = |field: &FieldDescriptor| field.kind().as_message().is_some_and(|m| m.full_name() == FIELD_MASK);
    for field in descriptor.fields().filter(is_mask) {
        for name in [field.name(), field.json_name()] {
            if let Some(serde_json::Value::String(paths)) = json.get_mut(name) {
                *paths = camel_case(paths);
            }
        }
    }
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    Ok(DynamicMessage::deserialize_with_options(descriptor, json, &options)?)
}

/// The paths of a mask as protobuf's JSON form has them.
fn camel_case(paths: &str) -> String {
    let mut camel = String::with_capacity(paths.len());
    let mut chars = paths.chars();
    while let Some(char) = chars.next() {
        match char {
            '_' => camel.extend(chars.next().map(|next| next.to_ascii_uppercase())),
            other => camel.push(other),
        }
    }
    camel
}

/// Reads the JSON form of a message.
pub fn from_str<M: Message + Name + Default>(json: &str) -> Result<M, ReadError> {
    let message = read(descriptor::<M>(), json)?;
    Ok(message.transcode_to().expect("descriptors and code are generated from one file"))
}

/// The JSON form of a message, on one line.
pub fn to_string<M: Message + Name>(message: &M) -> String {
    serde_json::to_string(&Json(&dynamic(message))).expect("a string takes everything")
}

/// A message to be serialized in its JSON form, by whatever serializer.
#[derive(Clone, Copy, Debug)]
pub struct Json<'m>(pub &'m DynamicMessage);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let descriptor = self.0.descriptor();
        if descriptor.full_name() == FIELD_MASK {
            return mask(self.0).serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        for field in descriptor.fields() {
            if field.supports_presence() && !self.0.has_field(&field) {
                map.serialize_entry(field.name(), &())?;
            } else {
                map.serialize_entry(field.name(), &FieldValue(&self.0.get_field(&field), &field))?;
            }
        }
        map.end()
    }
}

fn mask(mask: &DynamicMessage) -> String {
    let paths = mask.get_field_by_name("paths");
    let paths = paths.iter().filter_map(|paths| paths.as_list()).flatten();
    paths.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The value of a field, which may be a list or a map.
struct FieldValue<'v>(&'v Value, &'v FieldDescriptor);

impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, field) = self;
        match value {
            Value::List(items) => {
                let kind = field.kind();
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Item(item, &kind)))?;
                list.end()
            }
            Value::Map(entries) => {
                let sorted: BTreeMap<&MapKey, &Value> = entries.iter().collect();
                let kind = match field.kind() {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other,
                };
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(&key_text(key), &Item(value, &kind))?;
                }
                map.end()
            }
            single => Item(single, &field.kind()).serialize(serializer),
        }
    }
}

/// In JSON every key is a string.
fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// A value that is neither list nor map.
struct Item<'v>(&'v Value, &'v Kind);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::F32(value) => serializer.serialize_f32(*value),
            Value::F64(value) => serializer.serialize_f64(*value),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
            Value::EnumNumber(number) => {
                let named = self.1.as_enum().and_then(|descriptor| descriptor.get_value(*number));
                match named {
                    Some(value) => serializer.serialize_str(value.name()),
                    // From a newer server.
                    None => serializer.serialize_i32(*number),
                }
            }
            Value::Message(message) => Json(message).serialize(serializer),
            Value::List(_) | Value::Map(_) => unreachable!("no list is an item of a list or map"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::control::{App, HistoryMessage, Namespace, Quota, Tier, UpdateAppRequest, Usage};

    #[test]
    fn every_field_is_there_in_the_order_of_the_file() {
        let quota = Quota { channels: Some(1 << 40), connections: Some(0), ..Quota::default() };
        assert_eq!(
            to_string(&quota),
            r#"{"connections":0,"channels":1099511627776,"messages_in_per_second":null,"messages_out_per_second":null,"history_bytes":null,"presence_members":null,"webhooks_per_second":null}"#
        );
        let rule = Namespace { prefix: "p".to_owned(), tier: Tier::Ephemeral.into(), ..Namespace::default() };
        let text = to_string(&App { namespaces: vec![rule], ..App::default() });
        assert!(
            text.starts_with(r#"{"id":"","name":"","enabled":false,"keys":[],"pusher":null,"quota":null,"#),
            "{text}"
        );
        assert!(
            text.contains(r#""namespaces":[{"prefix":"p","tier":"TIER_EPHEMERAL","retention_seconds":0,"#),
            "{text}"
        );
    }

    #[test]
    fn maps_are_sorted_and_bytes_are_base64() {
        let refused: HashMap<_, _> = (0..20).map(|i| (format!("quota{i:02}"), i)).collect();
        let text = to_string(&Usage { refused, ..Usage::default() });
        assert!(text.contains(r#"{"quota00":0,"quota01":1,"quota02":2,"#), "{text}");
        let message = HistoryMessage { data: b"hi\xff".to_vec(), ..HistoryMessage::default() };
        assert!(to_string(&message).contains(r#""data":"aGn/""#));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let app = App {
            id: "1".to_owned(),
            quota: Some(Quota { connections: Some(7), ..Quota::default() }),
            namespaces: vec![Namespace { tier: 77, ..Namespace::default() }],
            revision: 1 << 52,
            ..App::default()
        };
        assert_eq!(from_str::<App>(&to_string(&app)).unwrap(), app);
        for paths in ["name,quota.history_bytes", "name,quota.historyBytes"] {
            let update = format!(r#"{{"app":{{"id":"1"}},"update_mask":"{paths}"}}"#);
            let update = from_str::<UpdateAppRequest>(&update).unwrap();
            assert_eq!(update.update_mask.as_ref().unwrap().paths, ["name", "quota.history_bytes"]);
            assert_eq!(from_str::<UpdateAppRequest>(&to_string(&update)).unwrap(), update);
        }
        for wrong in [r#"{"colour":1}"#, "{", "{} {}", r#"{"id":7}"#, "[]"] {
            assert!(from_str::<App>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_http_annotations_are_kept() {
        let service = descriptors().get_service_by_name("fanfare.control.v1.AppService").unwrap();
        let method = service.methods().find(|method| method.name() == "GetApp").unwrap();
        let http = descriptors().get_extension_by_name("google.api.http").unwrap();
        let options = method.options();
        let rule = options.get_extension(&http);
        let rule = rule.as_message().unwrap();
        assert_eq!(rule.get_field_by_name("get").unwrap().as_str(), Some("/v1/apps/{id}"));
    }
}
