//! The inotify object: which folder it watches, and what it has to say.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::pending::Event;

/// Most events taken in one go, so that a folder that never rests does not keep its news from being published.
const MAX_BATCH: usize = 16_384;

/// Watches one folder at a time.
#[derive(Debug)]
pub(super) struct Inbox {
    inotify: OwnedFd,
    watch: Option<i32>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News<'a> {
    /// To a file, or another name that is no folder.
    File(&'a str, Event),
    /// To a subfolder.
    Subfolder(&'a str),
    /// The folder is no longer where it was, or no longer at all.
    Gone,
    /// The kernel's queue was full; events are missing.
    Lost,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, watch: None })
    }

    /// Watches `folder` and no other.
    pub(super) fn watch(&mut self, folder: &Path) -> io::Result<()> {
        self.unwatch();
        let flags = WatchFlags::ONLYDIR
            | WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        self.watch = Some(inotify::add_watch(&self.inotify, folder, flags)?);
        Ok(())
    }

    pub(super) fn unwatch(&mut self) {
        if let Some(watch) = self.watch.take() {
            // It fails when the folder is gone, and the watch with it.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Hands out what has happened, in order. Returns whether there may be more.
    pub(super) fn drain(&self, is_whole: impl Fn(&str) -> bool, mut take: impl FnMut(News<'_>)) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        for _ in 0..MAX_BATCH {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            };
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                take(News::Lost);
            } else if Some(event.wd()) != self.watch {
                // Left over from a folder that stood there before.
            } else if kind.intersects(
                ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED,
            ) {
                take(News::Gone);
            } else if let Some(Ok(name)) = event.file_name().map(std::ffi::CStr::to_str) {
                if kind.contains(ReadFlags::ISDIR) {
                    take(News::Subfolder(name));
                } else if let Some(event) = event_of(kind, event.cookie(), || is_whole(name)) {
                    take(News::File(name, event));
                }
            }
        }
        true
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn event_of(kind: ReadFlags, cookie: u32, is_whole: impl FnOnce() -> bool) -> Option<Event> {
    if kind.contains(ReadFlags::CREATE) {
        Some(Event::Created { whole: is_whole() })
    } else if kind.contains(ReadFlags::MOVED_TO) {
        Some(Event::MovedHere { cookie, whole: is_whole() })
    } else if kind.contains(ReadFlags::MOVED_FROM) {
        Some(Event::MovedAway { cookie })
    } else if kind.contains(ReadFlags::CLOSE_WRITE) {
        Some(Event::Written)
    } else if kind.contains(ReadFlags::MODIFY) {
        Some(Event::Modified)
    } else if kind.contains(ReadFlags::DELETE) {
        Some(Event::Deleted)
    } else if kind.contains(ReadFlags::ATTRIB) {
        Some(Event::Touched)
    } else {
        None
    }
}
