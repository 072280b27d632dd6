//! However a lab ends, its daemons and namespaces go with it.

use l34_lab::{Bird, Lab, Process, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

/// Starts `lab-hold` and returns it with bird's process id.
fn hold(how: &str) -> (Child, u32) {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lab-hold"))
        .arg(how)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("lab-hold starts");
    let mut line = String::new();
    let stdout = holder.stdout.take().expect("its output is a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("lab-hold prints bird's process id");
    let bird = line.trim().parse().expect("a process id");
    (holder, bird)
}

/// The namespace of a process, as the kernel names it (`net:[4026532601]`).
fn namespace(pid: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).expect("the process lives");
    link.display().to_string()
}

/// Namespaces that any process is in.
fn namespaces_in_use() -> BTreeSet<String> {
    let processes = fs::read_dir("/proc").expect("/proc is readable").flatten();
    let links = processes.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn gone(bird: u32, namespace: &str) {
    wait_until(SOON, "bird gone", || {
        if Path::new("/proc").join(bird.to_string()).exists() {
            Err(format!("{bird} is there"))
        } else {
            Ok(())
        }
    });
    assert!(!namespaces_in_use().contains(namespace), "{namespace} is still in use");
}

#[test]
fn a_lab_that_is_terminated_or_killed_leaves_nothing() {
    // Not SIGINT: who starts a test in the background has it ignored for all its children.
    for signal in ["-TERM", "-KILL"] {
        let (mut holder, bird) = hold("wait");
        let namespace = namespace(bird);
        assert!(namespaces_in_use().contains(&namespace));
        let status = Command::new("sh")
            .args(["-c", "kill $0 $1", signal, &holder.id().to_string()])
            .status()
            .expect("kill starts");
        assert!(status.success());
        holder.wait().expect("lab-hold ends");
        gone(bird, &namespace);
    }
}

#[test]
fn a_lab_that_panics_leaves_its_files_only() {
    let (mut holder, bird) = hold("panic");
    let pid = holder.id();
    let status = holder.wait().expect("lab-hold ends");
    assert_eq!(status.code(), Some(101), "it panicked");
    wait_until(SOON, "bird gone", || {
        if Path::new("/proc").join(bird.to_string()).exists() {
            Err(format!("{bird} is there"))
        } else {
            Ok(())
        }
    });
    let kept = std::env::temp_dir().join(format!("l34-lab.{pid}.0"));
    assert!(kept.is_dir(), "the files of a failed lab are kept");
    drop(Lab::new());
    assert!(!kept.exists(), "the next lab removes them");
}

#[test]
fn two_labs_with_the_same_addresses_do_not_meet() {
    let labs = [Lab::new(), Lab::new()];
    let birds = labs.each_ref().map(|lab| {
        let host = lab.host("twin");
        lab.segment().attach(&host, "eth0", &["192.0.2.1/24"]);
        (Bird::start(lab, &host, "protocol device {}\nprotocol direct { ipv4; }\n"), host)
    });
    for (bird, host) in &birds {
        assert_eq!(host.routes(false, "main").len(), 1);
        assert!(bird.query("show route 192.0.2.0/24").contains("eth0"));
    }
}

#[test]
fn a_daemon_that_is_stopped_has_said_goodbye() {
    let lab = Lab::new();
    let host = lab.host("host");
    let mut sleeper = Process::start(&host.netns, "sleep", &["60"], &lab.file("sleep.log"));
    assert!(sleeper.check_alive().is_ok());
    let status = sleeper.stop(SOON);
    assert!(Process::ended_by(status, libc::SIGTERM), "{status}");
}
