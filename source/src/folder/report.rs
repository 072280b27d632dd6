//! What there is to say of the folder as a whole, and what goes into the log.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use crate::{Problem, Severity};

/// Problems of the folder beside those of its files.
#[derive(Debug)]
pub(super) struct Report {
    folder: String,
    absent: Option<String>,
    subfolders: BTreeSet<String>,
    /// What was published last, so that the log has each problem once.
    published: Arc<[Problem]>,
}

/// Most problems that one snapshot puts into the log.
const MAX_LOGGED: usize = 20;

impl Report {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.display().to_string(),
            absent: None,
            subfolders: BTreeSet::new(),
            published: Arc::default(),
        }
    }

    /// The folder is there, or not for some reason; then, whether anything is kept from before. Returns whether that
    /// is news.
    pub(super) fn set_absent(&mut self, why: Option<(&io::Error, bool)>) -> bool {
        let absent = why.map(|(error, kept)| {
            let kept = if kept { "; what it held is kept" } else { "" };
            format!("the folder {:?} cannot be read: {error}{kept}", self.folder)
        });
        let news = self.absent != absent;
        self.absent = absent;
        news
    }

    /// A subfolder appeared or went. Returns whether that is news.
    pub(super) fn set_subfolder(&mut self, name: &str, exists: bool) -> bool {
        if name.starts_with('.') {
            false
        } else if exists {
            self.subfolders.insert(name.to_owned())
        } else {
            self.subfolders.remove(name)
        }
    }

    /// The subfolders are these. Returns whether that is news.
    pub(super) fn set_subfolders(&mut self, names: &BTreeSet<String>) -> bool {
        let news = self.subfolders != *names;
        if news {
            self.subfolders.clone_from(names);
        }
        news
    }

    /// All problems, those of the folder first. New ones go into the log.
    pub(super) fn problems(&mut self, of_files: &Arc<[Problem]>) -> Arc<[Problem]> {
        let absent = self.absent.iter().map(|reason| Problem::of_file("", Severity::Error, reason.clone()));
        let subfolders = self.subfolders.iter().map(|name| {
            let message = "is a folder: files in subfolders are not read".to_owned();
            Problem::of_file(name, Severity::Note, message)
        });
        let of_folder: Vec<Problem> = absent.chain(subfolders).collect();
        let problems = if of_folder.is_empty() {
            Arc::clone(of_files)
        } else {
            of_folder.into_iter().chain(of_files.iter().cloned()).collect()
        };
        self.log(&problems);
        self.published = Arc::clone(&problems);
        problems
    }

    fn log(&self, problems: &Arc<[Problem]>) {
        if Arc::ptr_eq(&self.published, problems) {
            return;
        }
        let known: BTreeSet<&Problem> = self.published.iter().collect();
        let mut new = problems.iter().filter(|problem| !known.contains(problem));
        for problem in new.by_ref().take(MAX_LOGGED) {
            match problem.severity {
                Severity::Error | Severity::Warning => warn!("{problem}"),
                Severity::Note => info!("{problem}"),
            }
        }
        match new.count() {
            0 => {}
            more => warn!("{more} more problems with the manifests"),
        }
        if problems.is_empty() && !self.published.is_empty() {
            info!("the manifests have no problems any more");
        }
    }
}
