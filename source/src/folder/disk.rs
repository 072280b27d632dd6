//! The folder as it lies on the disk.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::pending::{DATA_LINK, is_manifest};
use crate::MAX_FILE_SIZE;

/// What a look at a file found.
#[derive(Debug)]
pub(super) enum Found {
    /// The whole text.
    Text { text: Vec<u8>, signature: Signature },
    /// It changed while it was read.
    Unsteady,
    /// There is no such file.
    Nothing,
    /// It cannot be read, for a reason in words.
    Unreadable(String),
}

/// Tells versions of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Tells folders apart that stand under one path at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// Names in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files that are read, links included, wherever they point to.
    pub(super) manifests: BTreeSet<String>,
    pub(super) subfolders: BTreeSet<String>,
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Found {
    match try_read(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => absent(path),
        Err(error) => Found::Unreadable(format!("cannot be read: {error}")),
    }
}

fn try_read(path: &Path) -> io::Result<Found> {
    // A pipe of that name must not block the thread.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(Found::Unreadable("is not a regular file and is not read".to_owned()));
    }
    let signature = Signature::of(&before);
    let text = read_bounded(&file, before.size())?;
    let steady = Signature::of(&file.metadata()?) == signature;
    Ok(if steady { Found::Text { text, signature } } else { Found::Unsteady })
}

/// At most one byte more than is allowed, by which the store sees that it is too much.
fn read_bounded(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(usize::MAX).min(MAX_FILE_SIZE) + 1);
    file.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// A link that leads nowhere is a file whose contents are out of reach for now, except for links into `..data`: there
/// the file was taken out of the ConfigMap, and the kubelet removes the link in a moment.
fn absent(path: &Path) -> Found {
    match fs::read_link(path) {
        Ok(target) if target.starts_with(DATA_LINK) => Found::Nothing,
        Ok(target) => Found::Unreadable(format!("is a link to {target:?}, where nothing is")),
        Err(_) => Found::Nothing,
    }
}

/// The signature of the file behind a name, or `None` when there is none.
pub(super) fn signature(path: &Path) -> Option<Signature> {
    fs::metadata(path).ok().as_ref().map(Signature::of)
}

/// Whether a name that is new stands for something that nobody is going to write: a link, symbolic or hard, or no
/// regular file at all.
pub(super) fn is_whole(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file() || metadata.nlink() > 1)
}

/// The identity of a folder.
///
/// # Errors
/// When there is none at that path, or something else.
pub(super) fn identity(folder: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// What `..data` points to, if there is one.
pub(super) fn data_link(folder: &Path) -> Option<std::path::PathBuf> {
    fs::read_link(folder.join(DATA_LINK)).ok()
}

/// Lists a folder. Names that are no UTF-8 are left out.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !name.starts_with('.') {
                listing.subfolders.insert(name);
            }
        } else if is_manifest(&name) {
            listing.manifests.insert(name);
        }
    }
    Ok(listing)
}
