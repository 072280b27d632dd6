//! A document as a tree whose every node knows its place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::Position;
use super::scalar::{self, Scalar};

/// Deepest nesting of a document. Kubernetes' deepest objects stay below 25; recursion over a tree relies on this.
const MAX_DEPTH: usize = 128;

/// What the aliases of one document may copy, in [`Node::weight`]. A written node costs the file its own bytes;
/// only aliases can make a small file large ("billion laughs").
const MAX_ALIAS_WEIGHT: usize = 4 << 20;

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) at: Position,
    pub(crate) value: Value<'a>,
}

/// What a node holds. Mapping keys are text and unique.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Sequence(Vec<Node<'a>>),
    Mapping(Vec<(Key<'a>, Node<'a>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) at: Position,
    /// A plain `<<`: its value is merged into this mapping (YAML 1.1).
    merge: bool,
}

/// A document that is not valid YAML.
#[derive(Debug, PartialEq)]
pub(crate) struct Broken<'a> {
    pub(crate) at: Position,
    /// In words, and never with text of the document in it: that may be a secret.
    pub(crate) message: String,
    /// The tree up to the error, from which the object's name may still be read.
    pub(crate) partial: Option<Node<'a>>,
}

/// Parses the text between two document markers. Only a `...` line makes more than one document of it; after an
/// error the rest is given up.
pub(crate) fn parse(text: &[u8]) -> Vec<Result<Node<'_>, Broken<'_>>> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return vec![Err(not_utf8(&text[..error.valid_up_to()]))],
    };
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH / 2,
        block_nesting_limit: MAX_DEPTH / 2,
    };
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        match event.map_err(scan_error).and_then(|(event, span)| builder.take(event, span)) {
            Ok(Some(document)) => {
                documents.push(Ok(document));
                builder = Builder::default();
            }
            Ok(None) => {}
            Err((at, message)) => {
                documents.push(Err(Broken { at, message, partial: builder.into_partial() }));
                break;
            }
        }
    }
    documents
}

type Fault = (Position, String);

/// Nodes under construction, outermost first.
#[derive(Default)]
struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    anchors: BTreeMap<usize, Node<'a>>,
    alias_weight: usize,
}

struct Open<'a> {
    at: Position,
    anchor: usize,
    items: Items<'a>,
}

enum Items<'a> {
    Sequence(Vec<Node<'a>>),
    Mapping { entries: Vec<(Key<'a>, Node<'a>)>, key: Option<Key<'a>> },
}

impl<'a> Builder<'a> {
    /// Takes one event; gives the document when it is complete.
    fn take(&mut self, event: Event<'a>, span: Span) -> Result<Option<Node<'a>>, Fault> {
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let merge = style == ScalarStyle::Plain && text == "<<";
                let value =
                    scalar_value(text.clone(), style, tag.as_deref()).map_err(|message| (at, message))?;
                if let Some(Open { items: Items::Mapping { key: key @ None, .. }, .. }) = self.open.last_mut()
                {
                    *key = Some(Key { name: text, at, merge });
                    return Ok(None);
                }
                self.complete(Node { at, value }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.push(at, anchor, tag.as_deref(), "seq", Items::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let items = Items::Mapping { entries: Vec::new(), key: None };
                self.push(at, anchor, tag.as_deref(), "map", items)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { at, anchor, items }) = self.open.pop() {
                    let value = match items {
                        Items::Sequence(nodes) => Value::Sequence(nodes),
                        Items::Mapping { entries, .. } => Value::Mapping(finish_mapping(entries)?),
                    };
                    self.complete(Node { at, value }, anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let node = self.copy_of(anchor, at)?;
                self.complete(node, 0)?;
            }
            Event::DocumentEnd => return Ok(self.root.take()),
            _ => {}
        }
        Ok(None)
    }

    fn push(
        &mut self,
        at: Position,
        anchor: usize,
        tag: Option<&Tag>,
        wanted: &str,
        items: Items<'a>,
    ) -> Result<(), Fault> {
        if let Some(Open { items: Items::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err((at, "a key of a mapping must be text".to_owned()));
        }
        if let Some(tag) = tag
            && tag.core_suffix() != Some(wanted)
        {
            return Err((at, "this tag (`!...`) is not understood".to_owned()));
        }
        self.open.push(Open { at, anchor, items });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, node: Node<'a>, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.charge(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { items: Items::Sequence(nodes), .. }) => nodes.push(node),
            Some(Open { items: Items::Mapping { entries, key }, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => return Err((node.at, "a key of a mapping must be text".to_owned())),
            },
        }
        Ok(())
    }

    fn copy_of(&mut self, anchor: usize, at: Position) -> Result<Node<'a>, Fault> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err((at, "an alias (`*...`) stands inside the value it repeats".to_owned()));
        };
        if self.open.len() + node.height() > MAX_DEPTH {
            return Err((at, format!("nested deeper than {MAX_DEPTH} levels through aliases")));
        }
        let mut node = node.clone();
        node.at = at;
        self.charge(&node)?;
        Ok(node)
    }

    fn charge(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        self.alias_weight += node.weight();
        if self.alias_weight > MAX_ALIAS_WEIGHT {
            return Err((node.at, "aliases (`*...`) make this document too large".to_owned()));
        }
        Ok(())
    }

    /// The tree as far as it was read.
    fn into_partial(mut self) -> Option<Node<'a>> {
        while let Some(Open { at, items, .. }) = self.open.pop() {
            let value = match items {
                Items::Sequence(nodes) => Value::Sequence(nodes),
                Items::Mapping { entries, .. } => Value::Mapping(entries),
            };
            // The parent was waiting for this very node, so that completing it cannot fail.
            let _ = self.complete(Node { at, value }, 0);
        }
        self.root
    }
}

impl<'a> Node<'a> {
    /// The value under `name`, if this is a mapping that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node<'a>> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Sets a field of the mapping under `section`, if there is one.
    pub(crate) fn set(&mut self, section: &str, name: &'static str, value: Value<'a>) {
        let Value::Mapping(entries) = &mut self.value else { return };
        let Some((_, Node { at, value: Value::Mapping(fields) })) =
            entries.iter_mut().find(|(key, _)| key.name == section)
        else {
            return;
        };
        match fields.iter_mut().find(|(key, _)| key.name == name) {
            Some((_, node)) => node.value = value,
            None => fields.push((Key { name: name.into(), at: *at, merge: false }, Node { at: *at, value })),
        }
    }

    /// Levels from here to the deepest leaf; 1 for a scalar.
    fn height(&self) -> usize {
        1 + match &self.value {
            Value::Sequence(nodes) => nodes.iter().map(Node::height).max().unwrap_or(0),
            Value::Mapping(entries) => entries.iter().map(|(_, node)| node.height()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// About how many bytes a copy costs, here and in the typed object made of it.
    fn weight(&self) -> usize {
        size_of::<Self>()
            + match &self.value {
                Value::Text(text) => text.len(),
                Value::Sequence(nodes) => nodes.iter().map(Node::weight).sum(),
                Value::Mapping(entries) => entries
                    .iter()
                    .map(|(key, node)| size_of::<Key<'_>>() + key.name.len() + node.weight())
                    .sum(),
                _ => 0,
            }
    }
}

fn scalar_value<'a>(text: Cow<'a, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value<'a>, String> {
    let plain = style == ScalarStyle::Plain;
    let Some(tag) = tag else {
        return Ok(if plain { resolved(text) } else { Value::Text(text) });
    };
    let wrong = |wanted: &str| Err(format!("the tag `!!{wanted}` stands before something else"));
    match (tag.core_suffix(), resolved(text.clone())) {
        (Some("str"), _) => Ok(Value::Text(text)),
        (Some("null"), value @ Value::Null) => Ok(value),
        (Some("bool"), value @ Value::Bool(_)) => Ok(value),
        (Some("int"), value @ (Value::Int(_) | Value::Uint(_))) => Ok(value),
        (Some("float"), value @ (Value::Int(_) | Value::Uint(_) | Value::Float(_))) => Ok(value),
        (Some(wanted @ ("null" | "bool" | "int" | "float")), _) => wrong(wanted),
        _ if tag.original() == "!" => Ok(Value::Text(text)),
        _ => Err("this tag (`!...`) is not understood".to_owned()),
    }
}

fn resolved(text: Cow<'_, str>) -> Value<'_> {
    match scalar::resolve(&text) {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Int(value) => Value::Int(value),
        Scalar::Uint(value) => Value::Uint(value),
        Scalar::Float(value) => Value::Float(value),
        Scalar::Text => Value::Text(text),
    }
}

/// Refuses a key that stands twice (YAML 1.2.2, 3.2.1.1), and merges what stands under `<<`.
fn finish_mapping<'a>(mut entries: Vec<(Key<'a>, Node<'a>)>) -> Result<Vec<(Key<'a>, Node<'a>)>, Fault> {
    let merge = entries.iter().position(|(key, _)| key.merge).map(|index| entries.remove(index).1);
    let mut keys: Vec<(&str, Position)> = entries.iter().map(|(key, _)| (&*key.name, key.at)).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (name, at) = pair[1];
        return Err((at, format!("the key {name:?} stands twice, first in line {}", pair[0].1.line)));
    }
    let Some(Node { at, value }) = merge else { return Ok(entries) };
    let sources = match value {
        Value::Sequence(nodes) => nodes,
        value => vec![Node { at, value }],
    };
    for source in sources {
        let Value::Mapping(merged) = source.value else {
            return Err((source.at, "what stands under `<<` must be a mapping".to_owned()));
        };
        for entry in merged {
            // The mapping's own keys win, then those of the earlier source.
            if !entries.iter().any(|(key, _)| key.name == entry.0.name) {
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

fn scan_error(error: ScanError) -> Fault {
    (position(error.marker()), error.kind().to_string())
}

/// The parser counts lines from 1 and columns from 0.
fn position(mark: &Marker) -> Position {
    Position { line: clamp(mark.line()), column: clamp(mark.col()).saturating_add(1) }
}

fn not_utf8(before: &[u8]) -> Broken<'static> {
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |index| index + 1);
    let at = Position {
        line: clamp(before.iter().filter(|&&byte| byte == b'\n').count() + 1),
        column: clamp(String::from_utf8_lossy(&before[line_start..]).chars().count() + 1),
    };
    Broken { at, message: "a byte that is not UTF-8 text".to_owned(), partial: None }
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
