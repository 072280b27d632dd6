//! What is wrong with the input, said to a person.

use std::fmt;

use l34_plan::snapshot::ObjectRef;
use serde::Serialize;

/// Something in the input that is not as it should be. Never holds a value out of a Secret.
///
/// Shown as `a.yaml:12:5: Service default/service-a: spec.ports[0].port: must be a whole number, is a list`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Name of the file in the folder; empty when the folder as a whole is meant.
    pub file: String,
    /// Line in the file, from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// Column in the line, in characters from 1; 0 when the line as a whole is meant.
    pub column: u32,
    /// How much it matters.
    pub severity: Severity,
    /// The object, where it could be read.
    pub object: Option<ObjectRef>,
    /// The field, as in `spec.ports[0].port`; empty when the object as a whole is meant.
    pub field: String,
    /// In words.
    pub message: String,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An object is not taken, or not in its newest version.
    Error,
    /// Something is probably not what was meant.
    Warning,
    /// Something was left out on purpose.
    Note,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(crate) fn of_file(file: &str, severity: Severity, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            severity,
            object: None,
            field: String::new(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name of a file is free text, down to line breaks.
        let mut separator = "";
        if !self.file.is_empty() {
            write!(f, "{}", self.file.escape_debug())?;
            separator = ": ";
        }
        for number in [self.line, self.column] {
            if number != 0 {
                write!(f, ":{number}")?;
            }
        }
        if let Some(object) = &self.object {
            write!(f, "{separator}{object}")?;
            separator = ": ";
        }
        if !self.field.is_empty() {
            write!(f, "{separator}{}", self.field)?;
            separator = ": ";
        }
        write!(f, "{separator}{}", self.message)
    }
}
