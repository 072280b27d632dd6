//! Where the objects come from: a folder of YAML or a cluster.
//!
//! [`FolderStore`] is the pure half: the text of files goes in, objects and problems come out. With the feature
//! `folder`, [`FolderWatch`] feeds it from a folder and hands out a [`Snapshot`] after every change. With the feature
//! `cluster`, the module of that name does the same with an API server.

#[cfg(feature = "cluster")]
pub mod cluster;
mod document;
#[cfg(feature = "folder")]
mod folder;
mod problem;
mod store;
mod yaml;

use std::sync::Arc;
use std::time::Instant;

use l34_plan::snapshot::Objects;

#[cfg(feature = "folder")]
pub use folder::FolderWatch;
pub use problem::{Problem, Severity};
pub use store::{FolderStore, MAX_FILE_SIZE, Place, Places};

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The objects. Unchanged ones are the same allocations as in the snapshot before.
    pub objects: Objects,
    /// Where the objects stand.
    pub places: Places,
    /// What is wrong with the input.
    pub problems: Arc<[Problem]>,
    /// When the source learned of the change that led to this snapshot.
    pub changed_at: Instant,
}
