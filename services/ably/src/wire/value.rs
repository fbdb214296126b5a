//! Values as clients write them: anything may stand anywhere, and nothing but the frame's own shape makes it unreadable.
//!
//! A field of the wrong type is kept as that, so that whoever needs it can refuse with the code for it, and everybody else
//! passes over it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

/// A field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not there, or null.
    #[default]
    Absent,
    /// There.
    Given(T),
    /// There, of another type.
    Wrong,
}

impl<T> Field<T> {
    /// The value, if it is there and of its type.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// The value if it is there, or `error` if it is of another type.
    pub fn checked<E>(&self, error: impl FnOnce() -> E) -> Result<Option<&T>, E> {
        match self {
            Self::Absent => Ok(None),
            Self::Given(value) => Ok(Some(value)),
            Self::Wrong => Err(error()),
        }
    }
}

/// Text, borrowed wherever it holds no escape.
pub type Text<'a> = Cow<'a, str>;

impl<'de: 'a, 'a> Deserialize<'de> for Field<Text<'a>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Scalar<'de> for TextVisitor {
            type Value = Text<'de>;
            fn text(self, text: Text<'de>) -> Field<Text<'de>> {
                Field::Given(text)
            }
        }
        deserializer.deserialize_any(ScalarVisitor(TextVisitor))
    }
}

impl<'de> Deserialize<'de> for Field<u64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl<'de> Scalar<'de> for IntegerVisitor {
            type Value = u64;
            fn integer(self, number: u64) -> Field<u64> {
                Field::Given(number)
            }
        }
        deserializer.deserialize_any(ScalarVisitor(IntegerVisitor))
    }
}

/// What becomes of each type; wrong unless said otherwise.
trait Scalar<'de>: Sized {
    type Value;
    fn text(self, _: Text<'de>) -> Field<Self::Value> {
        Field::Wrong
    }
    fn integer(self, _: u64) -> Field<Self::Value> {
        Field::Wrong
    }
}

struct ScalarVisitor<S>(S);

impl<'de, S: Scalar<'de>> de::Visitor<'de> for ScalarVisitor<S> {
    type Value = Field<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.text(Cow::Owned(text.to_owned())))
    }
    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(self.0.text(Cow::Owned(text)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.0.integer(number))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Field::Wrong, |number| self.0.integer(number)))
    }
    /// JavaScript writes numbers above 2^32 as floats in MessagePack.
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(integral(number).map_or(Field::Wrong, |number| self.0.integer(number)))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Field::Wrong)
    }
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Field::Wrong)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Wrong)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Wrong)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Self::Value, D::Error> {
        IgnoredAny::deserialize(extension)?;
        Ok(Field::Wrong)
    }
}

/// A float that is a whole number, as far as those are exact.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
fn integral(number: f64) -> Option<u64> {
    /// 2^53: above, a float stands for several integers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// `data` of a message or presence item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// A string.
    Text(Text<'a>),
    /// Bytes, in MessagePack only.
    Bytes(Cow<'a, [u8]>),
    /// An object or array, as JSON text: to the letter where it came as JSON.
    Json(Text<'a>),
    /// An object or array whose JSON text would be larger than any frame.
    TooLarge,
    /// Anything else: a number, a boolean, text that is not Unicode.
    Unusable,
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let json = <&'de RawValue>::deserialize(deserializer)?.get();
            return Ok(match json.as_bytes()[0] {
                b'"' => serde_json::from_str::<Field<Text<'de>>>(json)
                    .ok()
                    .and_then(|text| text.given().cloned())
                    .map_or(Self::Unusable, Self::Text),
                b'{' | b'[' => Self::Json(Cow::Borrowed(json)),
                b'n' => Self::Absent,
                _ => Self::Unusable,
            });
        }
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> de::Visitor<'de> for DataVisitor {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Data<'de>, E> {
        Ok(Data::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Data<'de>, E> {
        Ok(Data::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Data<'de>, E> {
        Ok(Data::Bytes(Cow::Borrowed(bytes)))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Data<'de>, E> {
        Ok(Data::Bytes(Cow::Owned(bytes.to_vec())))
    }
    fn visit_unit<E>(self) -> Result<Data<'de>, E> {
        Ok(Data::Absent)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Data<'de>, E> {
        Ok(Data::Unusable)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Data<'de>, E> {
        Ok(Data::Unusable)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Data<'de>, E> {
        Ok(Data::Unusable)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Data<'de>, E> {
        Ok(Data::Unusable)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Data<'de>, A::Error> {
        let mut transcript = Transcript::default();
        transcript.list(list)?;
        Ok(transcript.into_data())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data<'de>, A::Error> {
        let mut transcript = Transcript::default();
        transcript.map(map)?;
        Ok(transcript.into_data())
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Data<'de>, D::Error> {
        IgnoredAny::deserialize(extension)?;
        Ok(Data::Unusable)
    }
}

/// An object of any shape, as JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json<'a>(pub Field<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Data::deserialize(deserializer)? {
            Data::Absent => Field::Absent,
            Data::Json(json) if json.starts_with('{') => Field::Given(json),
            Data::Json(_) | Data::Text(_) | Data::Bytes(_) | Data::TooLarge | Data::Unusable => Field::Wrong,
        }))
    }
}

/// Most bytes of JSON text that are made of a value in MessagePack: as many as a frame has. Control characters take six
/// times as many in JSON.
const MAX_TRANSCRIPT: usize = 262_144;

/// JSON text that is made of a value in another format. Bytes become base64 text, which is all that JSON has for them.
#[derive(Debug, Default)]
struct Transcript {
    json: Vec<u8>,
    too_large: bool,
}

impl Transcript {
    fn into_data<'a>(self) -> Data<'a> {
        match String::from_utf8(self.json) {
            Ok(json) if !self.too_large => Data::Json(Cow::Owned(json)),
            Ok(_) | Err(_) => Data::TooLarge,
        }
    }

    fn push(&mut self, json: &str) {
        self.too_large |= self.json.len() + json.len() > MAX_TRANSCRIPT;
        if !self.too_large {
            self.json.extend_from_slice(json.as_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        let escapes = text.bytes().map(|byte| match byte {
            b'"' | b'\\' => 1,
            0..=0x1f => 5,
            _ => 0,
        });
        self.too_large |= self.json.len() + text.len() + escapes.sum::<usize>() + 2 > MAX_TRANSCRIPT;
        if !self.too_large {
            serde_json::to_writer(&mut self.json, text).expect("a vector grows");
        }
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        self.push("[");
        let start = self.json.len();
        loop {
            let end = self.json.len();
            if end > start {
                self.push(",");
            }
            if list.next_element_seed(&mut *self)?.is_none() {
                self.json.truncate(end);
                self.push("]");
                return Ok(());
            }
        }
    }

    fn map<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        self.push("{");
        let start = self.json.len();
        while let Some(key) = map.next_key::<Field<Text<'de>>>()? {
            // JSON has no other keys than text.
            let Field::Given(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if self.json.len() > start {
                self.push(",");
            }
            self.text(&key);
            self.push(":");
            map.next_value_seed(&mut *self)?;
        }
        self.push("}");
        Ok(())
    }
}

impl<'de> de::DeserializeSeed<'de> for &mut Transcript {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for &mut Transcript {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<(), E> {
        self.text(&crate::data::base64(bytes));
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.push("null");
        Ok(())
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.push(if value { "true" } else { "false" });
        Ok(())
    }
    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.push(&number.to_string());
        Ok(())
    }
    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.push(&number.to_string());
        Ok(())
    }
    /// What is no number in JSON is null, as JavaScript has it.
    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.push(&serde_json::Value::from(number).to_string());
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.list(list)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.map(map)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<(), D::Error> {
        IgnoredAny::deserialize(extension)?;
        self.push("null");
        Ok(())
    }
}
