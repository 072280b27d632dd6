//! What the controller tells by Events, where it may not write the object: Services are never written.

use std::collections::BTreeMap;

use l34_crds::Kind;

use super::grants::Granted;
use super::wanted::Refused;
use crate::problem::{Problem, Severity};
use crate::snapshot::ObjectRef;

/// An Event of type Warning. One that is equal to the last of its object is not worth telling again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventDraft {
    /// What it is about.
    pub object: ObjectRef,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// Sentences for people, at most 1,024 bytes.
    pub message: String,
}

impl From<&Problem> for EventDraft {
    fn from(problem: &Problem) -> Self {
        let reason = match problem.severity {
            Severity::Error => "Invalid",
            Severity::Warning => "Questionable",
        };
        let message = match problem.field.as_str() {
            "" => problem.words.clone(),
            field => format!("{field}: {}", problem.words),
        };
        Self { object: problem.object.clone(), reason, message: cut(message) }
    }
}

/// For each Service with an address that is not granted, one Event that names them all.
pub fn refusals(granted: &Granted<'_>) -> Vec<EventDraft> {
    let mut sentences: BTreeMap<&ObjectRef, Vec<String>> = BTreeMap::new();
    for refused @ Refused { object, .. } in &granted.refused {
        if object.kind == Kind::Service {
            let sentence = format!("{}: {} {}", refused.field, refused.address, refused.words);
            sentences.entry(object).or_default().push(sentence);
        }
    }
    let event = |(object, sentences): (&ObjectRef, Vec<String>)| EventDraft {
        object: object.clone(),
        reason: "AddressNotGranted",
        message: cut(sentences.join("; ")),
    };
    sentences.into_iter().map(event).collect()
}

/// The API server takes 1,024 bytes.
fn cut(message: String) -> String {
    if message.len() <= MAX_NOTE {
        return message;
    }
    let end = message.floor_char_boundary(MAX_NOTE - "...".len());
    format!("{}...", &message[..end])
}

const MAX_NOTE: usize = 1024;
