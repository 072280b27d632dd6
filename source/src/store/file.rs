//! One file: its documents, and the objects it stands for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use l34_plan::snapshot::{Object, ObjectRef};

use crate::document::{self, Fault, Reading};
use crate::problem::{Problem, Severity};
use crate::yaml::{self, Chunk};

/// The last text of a file that was whole, and what came of it.
#[derive(Debug, Default)]
pub(super) struct File {
    text: Vec<u8>,
    documents: Vec<Document>,
    objects: BTreeMap<ObjectRef, Held>,
    /// Objects that stand here again, after their first document.
    repeated: Vec<Repeated>,
    /// Why the file's newest text is not taken at all.
    trouble: Option<String>,
}

/// Where a document lies in the file.
#[derive(Debug)]
struct Document {
    lines_before: u32,
    range: Range<usize>,
    reading: Arc<Reading>,
}

/// An object that the file stands for.
#[derive(Clone, Debug)]
pub(super) struct Held {
    reading: Arc<Reading>,
    index: usize,
    /// The line in which the object begins, from 1.
    pub(super) line: u32,
    /// It is no longer in the file, or not in a good state; this is its last good version.
    pub(super) kept: bool,
}

#[derive(Debug)]
struct Repeated {
    object: ObjectRef,
    line: u32,
    first: u32,
}

/// Most objects named in one message.
const MAX_NAMED: usize = 8;

impl File {
    /// The objects that the file stands for now.
    pub(super) fn objects(&self) -> &BTreeMap<ObjectRef, Held> {
        &self.objects
    }

    /// Takes the text of the file. Returns the objects as they were before, unless none can have changed.
    pub(super) fn set_text(&mut self, text: Vec<u8>) -> Option<BTreeMap<ObjectRef, Held>> {
        self.trouble = self.cut_short(&text).map(str::to_owned);
        if self.trouble.is_some() || text == self.text {
            return None;
        }
        self.documents = self.documents_of(&text);
        self.text = text;
        let mut objects = BTreeMap::new();
        self.repeated.clear();
        for document in &self.documents {
            for (index, placed) in document.reading.objects.iter().enumerate() {
                let line = document.lines_before.saturating_add(placed.line);
                let held = Held { reading: Arc::clone(&document.reading), index, line, kept: false };
                match objects.get(&placed.reference) {
                    None => drop(objects.insert(placed.reference.clone(), held)),
                    Some(Held { line: first, .. }) => {
                        let (object, first) = (placed.reference.clone(), *first);
                        self.repeated.push(Repeated { object, line, first });
                    }
                }
            }
        }
        let before = std::mem::replace(&mut self.objects, objects);
        if self.faults().any(|(_, fault)| fault.severity == Severity::Error) {
            for (reference, held) in &before {
                self.objects.entry(reference.clone()).or_insert_with(|| Held { kept: true, ..held.clone() });
            }
        }
        Some(before)
    }

    /// The file cannot be read; what it stands for stays.
    pub(super) fn set_unreadable(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// Whether [`problems`](Self::problems) or [`ignored`](Self::ignored) has anything.
    pub(super) fn reports(&self) -> bool {
        self.trouble.is_some()
            || !self.repeated.is_empty()
            || self.faults().next().is_some()
            || self.ignored().next().is_some()
    }

    /// Kinds that are not read, with the lines in which they stand.
    pub(super) fn ignored(&self) -> impl Iterator<Item = (u32, &str)> {
        self.documents.iter().flat_map(|document| {
            let ignored = document.reading.ignored.iter();
            ignored.map(|ignored| (document.lines_before.saturating_add(ignored.line), &*ignored.kind))
        })
    }

    /// What is wrong with this file, apart from what other files have to do with.
    pub(super) fn problems(&self, file: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(trouble) = &self.trouble {
            problems.push(Problem::of_file(file, Severity::Error, trouble.clone()));
        }
        let kept: Vec<_> =
            self.objects.iter().filter(|(_, held)| held.kept).map(|(reference, _)| reference).collect();
        if !kept.is_empty() {
            let mut names: Vec<_> = kept.iter().take(MAX_NAMED).map(ToString::to_string).collect();
            if kept.len() > MAX_NAMED {
                names.push(format!("and {} more", kept.len() - MAX_NAMED));
            }
            let message =
                format!("kept in the last good version until the file has no error: {}", names.join(", "));
            problems.push(Problem::of_file(file, Severity::Warning, message));
        }
        problems.extend(self.faults().map(|(lines_before, fault)| Problem {
            file: file.to_owned(),
            line: lines_before.saturating_add(fault.at.line),
            column: fault.at.column,
            severity: fault.severity,
            object: fault.object.clone(),
            field: fault.field.clone(),
            message: fault.message.clone(),
        }));
        problems.extend(self.repeated.iter().map(|repeated| Problem {
            file: file.to_owned(),
            line: repeated.line,
            column: 0,
            severity: Severity::Warning,
            object: Some(repeated.object.clone()),
            field: String::new(),
            message: format!(
                "stands in this file already, in line {}, and is taken from there",
                repeated.first
            ),
        }));
        problems
    }

    fn faults(&self) -> impl Iterator<Item = (u32, &Fault)> {
        self.documents
            .iter()
            .flat_map(|document| document.reading.faults.iter().map(|fault| (document.lines_before, fault)))
    }

    /// Reads what changed; documents of the former text are taken over as they are.
    fn documents_of(&self, text: &[u8]) -> Vec<Document> {
        let chunks = yaml::split(text);
        let same = |(chunk, document): &(&Chunk<'_>, &Document)| chunk.text == self.text_of(document);
        // Most changes leave the beginning and the end alone. What was moved between them is looked up.
        let head = chunks.iter().zip(&self.documents).take_while(same).count();
        let (new, old) = (&chunks[head..], &self.documents[head..]);
        let tail = new.iter().rev().zip(old.iter().rev()).take_while(same).count();
        let old_middle = &old[..old.len() - tail];
        let moved: BTreeMap<&[u8], &Document> =
            old_middle.iter().map(|old| (self.text_of(old), old)).collect();
        let former = |index: usize, chunk: &Chunk<'_>| {
            if index < head {
                self.documents.get(index)
            } else if index >= chunks.len() - tail {
                self.documents.get(index + self.documents.len() - chunks.len())
            } else {
                moved.get(chunk.text).copied()
            }
        };
        let document = |(index, chunk): (usize, &Chunk<'_>)| Document {
            lines_before: chunk.lines_before,
            range: chunk.start..chunk.start + chunk.text.len(),
            reading: match former(index, chunk) {
                Some(document) => Arc::clone(&document.reading),
                None => Arc::new(document::read(chunk.text)),
            },
        };
        chunks.iter().enumerate().map(document).collect()
    }

    fn text_of(&self, document: &Document) -> &[u8] {
        &self.text[document.range.clone()]
    }

    /// Whether `text` looks like a write that stopped half-way, in words.
    fn cut_short(&self, text: &[u8]) -> Option<&'static str> {
        if self.objects.is_empty() {
            return None;
        }
        if text.is_empty() {
            return Some(
                "is empty: what it held is kept (to withdraw it, delete the file or leave a comment in it)",
            );
        }
        let within_a_line = match (text.last(), self.text.strip_prefix(text)) {
            (Some(b'\n'), _) | (_, None) => false,
            (_, Some(rest)) => !matches!(rest.first(), None | Some(b'\n' | b'\r')),
        };
        within_a_line.then_some(
            "ends in the middle of a line of its former text and counts as cut short: what it held is kept \
             (if this is all there is to it, end that line)",
        )
    }
}

impl Held {
    pub(super) fn object(&self) -> &Object {
        &self.reading.objects[self.index].object
    }

    /// Whether this is the same object, unchanged.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.index == other.index && self.kept == other.kept && Arc::ptr_eq(&self.reading, &other.reading)
    }
}
