//! What is wrong with an object, in words that name the field.

use std::fmt;

use serde::Serialize;

use crate::snapshot::ObjectRef;

/// Something about an object that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// How much it costs.
    pub severity: Severity,
    /// The object that is to be changed.
    pub object: ObjectRef,
    /// Path of the field inside the object, such as `spec.bgp.holdTime`; empty when it is none in particular.
    pub field: String,
    /// What is wrong, and what comes of it.
    pub words: String,
}

/// How much a problem costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// The object, or the part of it that the field stands for, is not used.
    Error,
    /// It is used, and probably does not do what was meant.
    Warning,
}

impl Problem {
    /// A problem that keeps the object, or a part of it, from being used.
    pub fn error(object: ObjectRef, field: &str, words: impl Into<String>) -> Self {
        Self { severity: Severity::Error, object, field: field.to_owned(), words: words.into() }
    }

    /// A problem beside which the object is used.
    pub fn warning(object: ObjectRef, field: &str, words: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, object, field: field.to_owned(), words: words.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: {}", self.object, self.words),
            field => write!(f, "{}: {field}: {}", self.object, self.words),
        }
    }
}
