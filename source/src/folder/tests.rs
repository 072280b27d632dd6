//! The watcher on a real folder. Where a test shows that something does *not* happen, it makes a later change
//! and waits for that: events come in order.

#![allow(clippy::disallowed_methods)] // waits with a deadline

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

const QUICK: Pace = Pace {
    absent: Duration::from_millis(5),
    poll: Duration::from_millis(20),
    settle: Duration::from_millis(10),
};

/// Polls do not come to the rescue of events.
const EVENTS_ONLY: Pace = Pace {
    absent: Duration::from_millis(5),
    poll: Duration::from_secs(3600),
    settle: Duration::from_secs(3600),
};

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n    - port: {port}\n")
}

struct World {
    root: TempDir,
    snapshots: Receiver<Snapshot>,
    /// `name:port` of every Service, in every snapshot so far.
    history: Vec<String>,
    problems: Vec<String>,
    watch: FolderWatch,
}

impl World {
    /// Watches the folder `manifests`, as `prepare` leaves it.
    fn watch(pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("manifests");
        prepare(&folder);
        let (sender, snapshots) = mpsc::channel();
        let watch =
            FolderWatch::start_with(folder, pace, move |snapshot| drop(sender.send(snapshot))).unwrap();
        Self { root, snapshots, history: Vec::new(), problems: Vec::new(), watch }
    }

    /// Watches a folder with these files.
    fn with(pace: Pace, files: &[(&str, &str)]) -> Self {
        Self::watch(pace, |folder| {
            fs::create_dir(folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
        })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("manifests").join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Waits until a snapshot has these Services and as many problems.
    fn await_state(&mut self, services: &str, problems: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.history.last().map(String::as_str) != Some(services) || self.problems.len() != problems {
            match self.snapshots.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(snapshot) => {
                    let port = |service: &l34_crds::core::Service| {
                        service.spec.as_ref().unwrap().ports.as_ref().map_or(0, |ports| ports[0].port)
                    };
                    let services = snapshot.objects.services.iter();
                    let names: Vec<String> =
                        services.map(|(_, name, s)| format!("{name}:{}", port(s))).collect();
                    self.history.push(names.join(" "));
                    self.problems = snapshot.problems.iter().map(ToString::to_string).collect();
                }
                Err(_) => panic!("{services:?} did not come; {:?} {:?}", self.history, self.problems),
            }
        }
    }
}

#[test]
fn the_first_snapshot_has_what_is_there_and_names_what_is_not_read() {
    let mut world = World::watch(EVENTS_ONLY, |folder| {
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("a.yaml"), service("a", 1)).unwrap();
        fs::write(folder.join("b.txt"), service("b", 1)).unwrap();
        fs::write(folder.join(".c.yaml"), service("c", 1)).unwrap();
    });
    world.await_state("a:1", 1);
    assert_eq!(world.problems, ["sub: is a folder: files in subfolders are not read"]);
}

#[test]
fn a_folder_may_come_later() {
    let mut world = World::watch(EVENTS_ONLY, |_| {});
    world.await_state("", 1);
    assert!(world.problems[0].contains("No such file or directory"), "{:?}", world.problems);
    fs::create_dir(world.path("")).unwrap();
    world.write("a.yaml", service("a", 1));
    world.await_state("a:1", 0);
}

#[test]
fn a_half_written_file_is_not_acted_on() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    world.await_state("a:1 b:1", 0);
    // An old file cut off and a new one begun: both are valid YAML at this point.
    let mut old = File::create(world.path("a.yaml")).unwrap();
    let mut new = File::create(world.path("c.yaml")).unwrap();
    old.write_all(service("a", 2).as_bytes()).unwrap();
    new.write_all(service("c", 2).as_bytes()).unwrap();
    world.write("b.yaml", service("b", 2));
    world.await_state("a:1 b:2", 0);
    old.write_all(format!("---\n{}", service("d", 2)).as_bytes()).unwrap();
    drop(old);
    world.await_state("a:2 b:2 d:2", 0);
    drop(new);
    world.await_state("a:2 b:2 c:2 d:2", 0);
    assert_eq!(world.history, ["a:1 b:1", "a:1 b:2", "a:2 b:2 d:2", "a:2 b:2 c:2 d:2"]);
}

#[test]
fn a_rename_into_place_is_taken_at_once() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1))]);
    world.await_state("a:1", 0);
    world.write("a.yaml.tmp", service("a", 2));
    world.rename("a.yaml.tmp", "a.yaml");
    world.await_state("a:2", 0);
    world.rename("a.yaml", "b.yaml");
    world.write("c.yaml", service("c", 1));
    world.await_state("a:2 c:1", 0);
    assert!(world.history.iter().all(|services| services.contains("a:")), "{:?}", world.history);
}

#[test]
fn an_editor_that_renames_the_old_file_away_withdraws_nothing() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1)), ("f.yaml", &service("f", 1))]);
    world.await_state("a:1 f:1", 0);
    world.rename("a.yaml", "a.yaml~");
    world.write("f.yaml", service("f", 2));
    world.await_state("a:1 f:2", 0);
    world.write("a.yaml", service("a", 2));
    fs::remove_file(world.path("a.yaml~")).unwrap();
    world.await_state("a:2 f:2", 0);
}

#[test]
fn a_deleted_file_takes_its_objects_with_it() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    world.await_state("a:1 b:1", 0);
    fs::remove_file(world.path("a.yaml")).unwrap();
    world.await_state("b:1", 0);
    fs::rename(world.path("b.yaml"), world.root.path().join("elsewhere.yaml")).unwrap();
    world.await_state("", 0);
}

#[test]
fn a_damaged_file_withdraws_nothing_until_it_is_mended() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1))]);
    world.await_state("a:1", 0);
    world.write("a.yaml", "");
    world.await_state("a:1", 1);
    world.write("a.yaml", b"\xff\x00 not yaml");
    world.await_state("a:1", 2);
    world.write("a.yaml", service("a", 2));
    world.await_state("a:2", 0);
}

#[test]
fn a_mounted_config_map_changes_in_one_step() {
    // As the kubelet's AtomicWriter lays it out.
    let fill = |folder: &Path, version: u16| {
        let data = folder.join(format!("..v{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("a.yaml"), service("a", version)).unwrap();
        fs::write(data.join("b.yaml"), service("b", version)).unwrap();
        symlink(format!("..v{version}"), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let mut world = World::watch(EVENTS_ONLY, |folder| {
        fs::create_dir(folder).unwrap();
        fill(folder, 1);
        symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
        symlink("..data/b.yaml", folder.join("b.yaml")).unwrap();
    });
    world.await_state("a:1 b:1", 0);
    for version in 2..5 {
        fill(&world.path(""), version);
        fs::remove_dir_all(world.path(&format!("..v{}", version - 1))).unwrap();
        world.await_state(&format!("a:{version} b:{version}"), 0);
    }
    assert_eq!(world.history, ["a:1 b:1", "a:2 b:2", "a:3 b:3", "a:4 b:4"]);
    // A key taken out of the ConfigMap leaves its link behind for a moment.
    let data = world.path("..v9");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("a.yaml"), service("a", 9)).unwrap();
    symlink("..v9", world.path("..data_tmp")).unwrap();
    world.rename("..data_tmp", "..data");
    world.await_state("a:9", 0);
}

#[test]
fn a_folder_moved_away_keeps_its_objects_and_a_new_one_replaces_them() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    world.await_state("a:1 b:1", 0);
    fs::rename(world.path(""), world.root.path().join("old")).unwrap();
    world.await_state("a:1 b:1", 1);
    assert!(world.problems[0].ends_with("what it held is kept"), "{:?}", world.problems);
    let new = world.root.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("b.yaml"), service("b", 2)).unwrap();
    fs::rename(&new, world.path("")).unwrap();
    world.await_state("b:2", 0);
    world.write("c.yaml", service("c", 1));
    world.await_state("b:2 c:1", 0);
}

#[test]
fn a_folder_deleted_file_by_file_withdraws_them() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1))]);
    world.await_state("a:1", 0);
    fs::remove_dir_all(world.path("")).unwrap();
    world.await_state("", 1);
}

#[test]
fn a_change_that_no_event_tells_of_is_found() {
    let mut world = World::watch(QUICK, |folder| {
        fs::create_dir(folder).unwrap();
        let target = folder.with_file_name("target.yaml");
        fs::write(&target, service("a", 1)).unwrap();
        symlink(&target, folder.join("a.yaml")).unwrap();
    });
    world.await_state("a:1", 0);
    fs::write(world.root.path().join("target.yaml"), service("a", 22)).unwrap();
    world.await_state("a:22", 0);
    fs::remove_file(world.root.path().join("target.yaml")).unwrap();
    world.await_state("a:22", 1);
    fs::write(world.root.path().join("target.yaml"), service("a", 3)).unwrap();
    world.await_state("a:3", 0);
}

#[test]
fn a_hard_link_to_a_finished_file_is_taken() {
    let mut world = World::with(EVENTS_ONLY, &[("a.yaml", &service("a", 1))]);
    world.await_state("a:1", 0);
    let elsewhere = world.root.path().join("elsewhere.yaml");
    fs::write(&elsewhere, service("b", 1)).unwrap();
    fs::hard_link(&elsewhere, world.path("b.yaml")).unwrap();
    world.await_state("a:1 b:1", 0);
}

#[test]
fn what_is_no_regular_file_is_named_and_blocks_nothing() {
    let mut world = World::with(EVENTS_ONLY, &[("b.yaml", &service("b", 1))]);
    world.await_state("b:1", 0);
    std::os::unix::net::UnixListener::bind(world.path("s.sock")).unwrap();
    world.rename("s.sock", "a.yaml");
    world.await_state("b:1", 1);
    world.write("b.yaml", service("b", 2));
    world.await_state("b:2", 1);
}

#[test]
fn lost_events_lead_to_a_look_at_everything() {
    let (release, gate) = mpsc::channel::<()>();
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    fs::write(file("a.yaml"), service("a", 1)).unwrap();
    fs::write(file("filler"), "").unwrap();
    let (sender, snapshots) = mpsc::channel();
    let watch = FolderWatch::start_with(root.path().to_owned(), QUICK, move |snapshot: Snapshot| {
        let _ = sender.send(snapshot.objects.services.len());
        let _ = gate.recv(); // nothing is read meanwhile
    })
    .unwrap();
    assert_eq!(snapshots.recv_timeout(DEADLINE), Ok(1));
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    for _ in 0..=queue / 4 {
        fs::rename(file("filler"), file("other")).unwrap();
        fs::rename(file("other"), file("filler")).unwrap();
    }
    fs::write(file("b.yaml"), service("b", 1)).unwrap();
    drop(release);
    assert_eq!(snapshots.recv_timeout(DEADLINE), Ok(2));
    drop(watch);
}

#[test]
fn dropping_the_watch_ends_the_thread() {
    let mut world = World::with(EVENTS_ONLY, &[]);
    world.await_state("", 0);
    let World { snapshots, watch, .. } = world;
    drop(watch);
    assert_eq!(snapshots.recv_timeout(DEADLINE).unwrap_err(), mpsc::RecvTimeoutError::Disconnected);
}
