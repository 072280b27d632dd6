//! A lab: a folder, hosts, segments.

use crate::netns::Netns;
use crate::segment::Segment;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Lines of each log that a failed lab prints.
const LOG_TAIL: usize = 40;

/// The ground on which a scenario stands. Make it first, so that it is dropped last.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    files: Cell<usize>,
    /// Keeps every namespace until the end, also one that no process is in: a segment's.
    namespaces: RefCell<Vec<Netns>>,
    keep: Cell<bool>,
}

impl Lab {
    /// Makes the lab's folder. Needs root; says so otherwise.
    #[track_caller]
    pub fn new() -> Self {
        // SAFETY: plain system call without arguments.
        let uid = unsafe { libc::geteuid() };
        assert!(uid == 0, "labs make network namespaces and need root: run them with `sudo -E make labs`");
        let base = std::env::temp_dir();
        remove_left_folders(&base);
        let dir =
            base.join(format!("{PREFIX}{}.{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed)));
        if let Err(error) = fs::create_dir(&dir) {
            panic!("cannot make {}: {error}", dir.display());
        }
        Lab { dir, files: Cell::new(0), namespaces: RefCell::new(Vec::new()), keep: Cell::new(false) }
    }

    /// A new host.
    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        let netns = self.netns();
        // Addresses are usable at once: nothing in a lab can own them twice.
        netns.sysctl("net.ipv6.conf.all.accept_dad", "0");
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0");
        Host { name: name.to_owned(), netns }
    }

    /// A new segment: one layer 2 network.
    #[track_caller]
    pub fn segment(&self) -> Segment {
        Segment::new(self.netns())
    }

    #[track_caller]
    fn netns(&self) -> Netns {
        let netns = Netns::new();
        self.namespaces.borrow_mut().push(netns.clone());
        netns
    }

    /// A new file path in the lab's folder; a number is put before the name, so that the same name can be used twice.
    pub fn file(&self, name: &str) -> PathBuf {
        let number = self.files.replace(self.files.get() + 1);
        self.dir.join(format!("{number}-{name}"))
    }

    /// A new folder in the lab's folder.
    #[track_caller]
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        if let Err(error) = fs::create_dir(&path) {
            panic!("cannot make {}: {error}", path.display());
        }
        path
    }

    /// Writes a file into the lab's folder and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        if let Err(error) = fs::write(&path, text) {
            panic!("cannot write {}: {error}", path.display());
        }
        path
    }

    /// Ends as a lab that failed, with its files kept: a test that shares it has failed.
    pub(crate) fn keep(&self) {
        self.keep.set(true);
    }

    /// Prints a measured value, past the test runner's capture: also passing labs show their figures.
    pub fn report(&self, line: &str) {
        let test = thread::current();
        let name = test.name().unwrap_or("lab").to_owned();
        // A closed standard error costs the line, not the lab.
        let _ = writeln!(std::io::stderr(), "  {name}: {line}");
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !thread::panicking() && !self.keep.get() {
            // What can't be removed is removed by a later lab.
            let _ = fs::remove_dir_all(&self.dir);
            return;
        }
        eprintln!("the lab's files are kept in {}", self.dir.display());
        print_logs(&self.dir);
    }
}

/// One host of a lab: a name for messages and files, and a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name in messages and log files.
    pub name: String,
    /// Its network namespace.
    pub netns: Netns,
}

impl Host {
    /// Runs `ip` with the given arguments, split at spaces.
    #[track_caller]
    pub fn ip(&self, args: &str) -> String {
        self.netns.ip(args)
    }

    /// Adds an address to the loopback, as `200.100.0.100/32`.
    #[track_caller]
    pub fn loopback(&self, address: &str) {
        self.ip(&format!("address add {address} dev lo nodad"));
    }

    /// The link-local IPv6 address of an interface.
    #[track_caller]
    pub fn link_local(&self, interface: &str) -> String {
        let shown = self.ip(&format!("-6 -oneline address show dev {interface} scope link"));
        let address = shown.split_whitespace().skip_while(|word| *word != "inet6").nth(1);
        match address.and_then(|address| address.split('/').next()) {
            Some(address) => address.to_owned(),
            None => panic!("{interface} on {} has no link-local address: {shown}", self.name),
        }
    }

    /// Lets the host forward packets of both families, spreading flows by their ports as well.
    #[track_caller]
    pub fn forward(&self) {
        for (key, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.fib_multipath_hash_policy", "1"),
            ("net.ipv6.fib_multipath_hash_policy", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ] {
            self.netns.sysctl(key, value);
        }
    }
}

static LABS: AtomicUsize = AtomicUsize::new(0);
const PREFIX: &str = "l34-lab.";

/// Removes the folders of labs whose process is gone: kept after a failure, or left by a killed run. The newest
/// failures stay readable until the next run.
fn remove_left_folders(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('.').next());
        if let Some(owner) = owner
            && owner.parse::<u32>().is_ok()
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn print_logs(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for path in logs {
        let text =
            fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- the end of {}", path.display());
        for line in &lines[lines.len().saturating_sub(LOG_TAIL)..] {
            eprintln!("{line}");
        }
    }
}
