//! Frames as clients send them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};

use super::codec::{Malformed, from_slice};
use super::value::{Data, Field, Json, Text};
use super::{Action, Format};

/// Items of one frame that are looked at; nobody may send more, see [`Items::total`]. Without it a frame of empty maps
/// would take a hundred times its size.
const MAX_ITEMS: usize = 1000;

/// Params of one frame that are looked at; a dozen are known.
const MAX_PARAMS: usize = 32;

/// A frame of a client (spec §4.2). Fields that only servers send are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "each field is its wire word")]
pub struct ClientFrame<'a> {
    /// The number; see [`ClientFrame::action`].
    #[serde(rename = "action")]
    pub number: Field<u64>,
    #[serde(borrow)]
    pub id: Field<Text<'a>>,
    #[serde(borrow)]
    pub channel: Field<Text<'a>>,
    #[serde(borrow)]
    pub channel_serial: Field<Text<'a>>,
    pub msg_serial: Field<u64>,
    pub flags: Field<u64>,
    #[serde(borrow)]
    pub params: Params<'a>,
    #[serde(borrow)]
    pub messages: Items<ClientMessage<'a>>,
    #[serde(borrow)]
    pub presence: Items<ClientPresence<'a>>,
    #[serde(borrow, deserialize_with = "optional_object")]
    pub auth: Option<ClientAuth<'a>>,
}

/// A message as its publisher writes it, in a frame or in a REST body (spec §6.1, 6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "each field is its wire word")]
pub struct ClientMessage<'a> {
    #[serde(borrow)]
    pub id: Field<Text<'a>>,
    #[serde(borrow)]
    pub name: Field<Text<'a>>,
    #[serde(borrow)]
    pub data: Data<'a>,
    #[serde(borrow)]
    pub encoding: Field<Text<'a>>,
    #[serde(borrow)]
    pub client_id: Field<Text<'a>>,
    #[serde(borrow)]
    pub connection_id: Field<Text<'a>>,
    #[serde(borrow)]
    pub connection_key: Field<Text<'a>>,
    #[serde(borrow)]
    pub extras: Json<'a>,
    /// 0 or nothing creates; what changes messages has other numbers (spec §14.1).
    pub action: Field<u64>,
}

/// A presence item as its member writes it (spec §7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "each field is its wire word")]
pub struct ClientPresence<'a> {
    pub action: Field<u64>,
    #[serde(borrow)]
    pub id: Field<Text<'a>>,
    #[serde(borrow)]
    pub client_id: Field<Text<'a>>,
    #[serde(borrow)]
    pub connection_id: Field<Text<'a>>,
    #[serde(borrow)]
    pub data: Data<'a>,
    #[serde(borrow)]
    pub encoding: Field<Text<'a>>,
    #[serde(borrow)]
    pub extras: Json<'a>,
}

/// What AUTH brings: `{"accessToken": …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientAuth<'a> {
    /// The token.
    #[serde(borrow)]
    pub access_token: Field<Text<'a>>,
}

/// The `params` of a frame: those whose value is text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(pub Vec<(Text<'a>, Text<'a>)>);

/// A list of items, or a single one, which counts as a list of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items<T> {
    /// The first thousand.
    pub items: Vec<T>,
    /// How many there were.
    pub total: usize,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new(), total: 0 }
    }
}

/// Refuses what is no map or list in few words. The words of serde repeat what was found: a frame's worth of it.
macro_rules! refuse_text {
    () => {
        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom("text where there is none"))
        }
        fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Self::Value, E> {
            Err(E::custom("bytes where there are none"))
        }
    };
}

/// Reads a frame. Fails only if it is no value of `format`, or none with fields.
pub fn decode(format: Format, bytes: &[u8]) -> Result<ClientFrame<'_>, Malformed> {
    from_slice::<Object<ClientFrame<'_>>>(format, bytes).map(|object| object.0)
}

/// Reads a body that is one item or a list of them.
pub fn items<'a, T: Deserialize<'a>>(format: Format, bytes: &'a [u8]) -> Result<Items<T>, Malformed> {
    from_slice(format, bytes)
}

impl ClientFrame<'_> {
    /// What it is; `None` if nobody knows.
    pub fn action(&self) -> Option<Action> {
        self.number.given().and_then(|number| Action::from_number(*number))
    }
}

impl<'a> Params<'a> {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Items<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of maps")
            }
            refuse_text!();
            fn visit_unit<E>(self) -> Result<Items<T>, E> {
                Ok(Items::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Items<T>, A::Error> {
                let item = T::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Items { items: vec![item], total: 1 })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                // Grows as items come: how many a list claims to hold says nothing.
                let mut items = Vec::new();
                while items.len() < MAX_ITEMS {
                    let Some(Object(item)) = list.next_element()? else {
                        return Ok(Items { total: items.len(), items });
                    };
                    items.push(item);
                }
                let mut total = items.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    total += 1;
                }
                Ok(Items { items, total })
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Params<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Params<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of text")
            }
            refuse_text!();
            fn visit_unit<E>(self) -> Result<Params<'de>, E> {
                Ok(Params::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params<'de>, A::Error> {
                let mut params = Vec::new();
                while let Some((key, value)) = map.next_entry::<Field<Text<'de>>, Field<Text<'de>>>()? {
                    if let (Field::Given(key), Field::Given(value)) = (key, value)
                        && params.len() < MAX_PARAMS
                    {
                        params.push((key, value));
                    }
                }
                Ok(Params(params))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// A struct that is written as a map, not as a list of its fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            refuse_text!();
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}
