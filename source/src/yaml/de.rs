//! A tree into a typed value, with the path and place of an error and the fields that nothing took.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::{Node, Position, Value};

/// A typed value and the fields of the tree that its type does not have.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    pub(crate) value: T,
    pub(crate) unknown: Vec<(String, Position)>,
}

/// A value that does not fit its type.
#[derive(Debug, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) at: Position,
    /// As in `spec.ports[0].port`; empty for the document itself.
    pub(crate) field: String,
    pub(crate) message: String,
}

/// Makes a value of `node` by `read`. With `secret`, no value of the document appears in an error.
pub(crate) fn decode<'a, T>(
    node: &'a Node<'a>,
    secret: bool,
    read: impl FnOnce(Reader<'a, '_>) -> Result<T, Error>,
) -> Result<Decoded<T>, FieldError> {
    let unknown = RefCell::default();
    match read(Reader { node, path: Path::Root, unknown: &unknown }) {
        Ok(value) => Ok(Decoded { value, unknown: unknown.into_inner() }),
        Err(error) => {
            let message = if secret { error.without_value } else { error.message };
            let (field, at) = error.place.unwrap_or((String::new(), node.at));
            Err(FieldError { at, field, message })
        }
    }
}

/// The way from the document's root to a node.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str, Position),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, name, _) => write_key(f, name),
            // Keys of labels and annotations have dots of their own.
            Path::Key(parent, name, _) if !is_field_name(name) => {
                write!(f, "{parent}[")?;
                write_key(f, name)?;
                f.write_char(']')
            }
            Path::Key(parent, name, _) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_field_name(name) { f.write_str(name) } else { write!(f, "{name:?}") }
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A serde deserializer of one node.
pub(crate) struct Reader<'de, 'p> {
    node: &'de Node<'de>,
    path: Path<'p>,
    unknown: &'p RefCell<Vec<(String, Position)>>,
}

impl<'de> Reader<'de, '_> {
    fn child<'c>(&'c self, path: Path<'c>, node: &'de Node<'de>) -> Reader<'de, 'c> {
        Reader { node, path, unknown: self.unknown }
    }

    /// The innermost node that an error passes is its place.
    fn locate<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            if error.place.is_none() {
                let field = match error.missing {
                    Some(name) => Path::Key(&self.path, name, self.node.at).to_string(),
                    None => self.path.to_string(),
                };
                error.place = Some((field, self.node.at));
            }
            error
        })
    }

    fn visit<V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            // serde's own readers of unsigned numbers take either.
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Uint(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Sequence(nodes) => {
                visitor.visit_seq(Items { reader: self, nodes: nodes.iter().enumerate() })
            }
            Value::Mapping(entries) => {
                visitor.visit_map(Entries { reader: self, entries: entries.iter(), value: None })
            }
        }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.locate(self.visit(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // The enums of our kinds are words; none carries data.
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(Word(text)),
            value => Err(de::Error::invalid_type(unexpected(value), &"a string")),
        };
        self.locate(result)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = match self.path {
            Path::Key(_, _, at) => at,
            _ => self.node.at,
        };
        self.unknown.borrow_mut().push((self.path.to_string(), at));
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Items<'de, 'r, I> {
    reader: &'r Reader<'de, 'r>,
    nodes: I,
}

impl<'de, I: Iterator<Item = (usize, &'de Node<'de>)>> SeqAccess<'de> for Items<'de, '_, I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.nodes.next() else { return Ok(None) };
        seed.deserialize(self.reader.child(Path::Index(&self.reader.path, index), node)).map(Some)
    }
}

struct Entries<'de, 'r, I> {
    reader: &'r Reader<'de, 'r>,
    entries: I,
    value: Option<&'de (super::tree::Key<'de>, Node<'de>)>,
}

impl<'de, I: Iterator<Item = &'de (super::tree::Key<'de>, Node<'de>)>> MapAccess<'de>
    for Entries<'de, '_, I>
{
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.entries.next();
        match self.value {
            Some((key, _)) => seed.deserialize(BorrowedStrDeserializer::new(&key.name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(self.reader.child(Path::Key(&self.reader.path, &key.name, key.at), node))
    }
}

/// An enum's variant, given by name.
struct Word<'de>(&'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'de, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        Err(de::Error::custom("must have a value with it"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("must have a value with it"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(de::Error::custom("must have a value with it"))
    }
}

/// An error on its way up from a serde visitor.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    /// The same without any value of the document.
    without_value: String,
    missing: Option<&'static str>,
    place: Option<(String, Position)>,
}

impl Error {
    fn new(message: String, without_value: String) -> Self {
        Self { message, without_value, missing: None, place: None }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), "is not valid".to_owned())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let wanted = in_words(&wanted.to_string());
        Self::new(
            format!("must be {wanted}, is {}", describe(&found, true)),
            format!("must be {wanted}, is {}", describe(&found, false)),
        )
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn missing_field(field: &'static str) -> Self {
        let message = "is missing".to_owned();
        Self { missing: Some(field), ..Self::new(message.clone(), message) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let wanted = expected.join(", ");
        Self::new(format!("must be one of {wanted}, is {variant:?}"), format!("must be one of {wanted}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

fn unexpected<'a>(value: &'a Value<'_>) -> Unexpected<'a> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Int(value) => Unexpected::Signed(*value),
        Value::Uint(value) => Unexpected::Unsigned(*value),
        Value::Float(value) => Unexpected::Float(*value),
        Value::Text(text) => Unexpected::Str(text),
        Value::Sequence(_) => Unexpected::Seq,
        Value::Mapping(_) => Unexpected::Map,
    }
}

fn describe(found: &Unexpected<'_>, with_value: bool) -> String {
    let (kind, value) = match found {
        Unexpected::Unit | Unexpected::Option => ("empty", None),
        Unexpected::Bool(value) => ("the boolean", Some(value.to_string())),
        Unexpected::Signed(value) => ("the number", Some(value.to_string())),
        Unexpected::Unsigned(value) => ("the number", Some(value.to_string())),
        Unexpected::Float(value) => ("the number", Some(value.to_string())),
        Unexpected::Str(text) => ("the text", Some(shortened(text))),
        Unexpected::Seq => ("a list", None),
        Unexpected::Map => ("a mapping", None),
        _ => ("something else", None),
    };
    match value {
        Some(value) if with_value => format!("{kind} {value}"),
        Some(_) => kind.replacen("the", "a", 1),
        None => kind.to_owned(),
    }
}

/// A text for a message: one line, quoted, of bounded length.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What serde's visitors call the thing they want, in words for a person who writes YAML.
fn in_words(wanted: &str) -> String {
    let range =
        |low: &dyn fmt::Display, high: &dyn fmt::Display| format!("a whole number from {low} to {high}");
    match wanted {
        "u8" => range(&u8::MIN, &u8::MAX),
        "u16" => range(&u16::MIN, &u16::MAX),
        "u32" => range(&u32::MIN, &u32::MAX),
        "i32" => range(&i32::MIN, &i32::MAX),
        "i8" | "i16" | "i64" | "u64" | "usize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "IntOrString" => "a whole number or a string".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        // Names of Rust types begin with a capital.
        _ if wanted.starts_with("struct ")
            || wanted.starts_with(|first: char| first.is_ascii_uppercase()) =>
        {
            "a mapping".to_owned()
        }
        _ => wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests;
