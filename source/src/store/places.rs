//! Where each object stands, so that what is found wrong later can be said with file and line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use l34_plan::snapshot::ObjectRef;

/// File and line of an object. Shown as `a.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the file in the folder.
    pub file: Arc<str>,
    /// The line in which the object begins, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.escape_debug(), self.line)
    }
}

/// The places of all objects, shared with the store and always its newest: for people, who are told when something is
/// wrong, and so without a copy in every snapshot.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<BTreeMap<ObjectRef, Place>>>);

impl Places {
    /// Where an object stands, if it still does.
    pub fn get(&self, object: &ObjectRef) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(object).cloned()
    }

    pub(super) fn set(&self, object: &ObjectRef, file: &Arc<str>, line: u32) {
        let place = Place { file: Arc::clone(file), line };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(object) {
            Some(known) => *known = place,
            None => _ = places.insert(object.clone(), place),
        }
    }

    pub(super) fn remove(&self, object: &ObjectRef) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
