//! Where the objects come from: a folder of YAML (later also a cluster).

mod document;
mod problem;
mod store;
mod yaml;

pub use problem::{Problem, Severity};
pub use store::{FolderStore, MAX_FILE_SIZE};
