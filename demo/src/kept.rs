//! `make demo KEEP=1` and `make demo-down`: the networks stay up behind a process in the background.

use crate::network::{Network, binary};
use crate::screen::bold;
use crate::signals;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

/// The argument of the process in the background.
pub(crate) const BACKGROUND: &str = "--keep-in-background";

/// One folder per kept demo, named by its process, with one executable per host.
const FOLDER: &str = "/run/l34-demo";

const POLL: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(10);

/// Plays the demo in a process of its own and returns when that has nothing more to say.
pub(crate) fn launch() -> ExitCode {
    // Ctrl-C reaches the child as well: it cleans up, and this process reports how it ended.
    signals::block();
    let child = std::env::current_exe().and_then(|me| Command::new(me).arg(BACKGROUND).spawn());
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("l34-demo: cannot start its process in the background: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ready = folder_of(child.id()).join(READY);
    loop {
        match child.try_wait() {
            Ok(None) if ready.exists() => return ExitCode::SUCCESS,
            Ok(None) => thread::sleep(POLL),
            Ok(Some(status)) => return ExitCode::from(status.code().map_or(1, |code| code as u8)),
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Says how to look around, lets the terminal go and stays until a signal.
pub(crate) fn stay(networks: &[Network]) -> ! {
    let folder = folder_of(std::process::id());
    signals::remove_at_end(folder.clone());
    let made = fs::create_dir_all(&folder).and_then(|()| doors(networks, &folder));
    if let Err(error) = made {
        panic!("cannot write to {}: {error}", folder.display());
    }
    say_how(networks, &folder);
    leave_terminal();
    if let Err(error) = fs::write(folder.join(READY), "") {
        panic!("cannot write to {}: {error}", folder.display());
    }
    loop {
        thread::park();
    }
}

/// Ends every kept demo and waits until it is gone.
pub(crate) fn down() -> ExitCode {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let kept: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if kept.is_empty() {
        println!("No demo is up.");
        return ExitCode::SUCCESS;
    }
    let mut all_gone = true;
    for pid in kept {
        all_gone &= end(pid);
    }
    // Not empty when another demo has just come up.
    let _ = fs::remove_dir(FOLDER);
    if all_gone { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const READY: &str = ".ready";

fn folder_of(pid: u32) -> PathBuf {
    Path::new(FOLDER).join(pid.to_string())
}

/// One executable per host that runs a command there.
fn doors(networks: &[Network], folder: &Path) -> std::io::Result<()> {
    for network in networks {
        let birdc = format!("birdc) shift; set -- birdc -s '{}' \"$@\" ;;", network.bird.socket().display());
        door(folder, &network.vpn.name, network.bird.process().pid(), &birdc)?;
        for gateway in &network.gateways {
            let (router, socket) = (binary("l34-router"), gateway.admin.display());
            let ask = format!("l34-router) shift; set -- '{router}' \"$@\" --admin '{socket}' ;;");
            door(folder, &gateway.host.name, gateway.process.pid(), &ask)?;
        }
    }
    Ok(())
}

fn door(folder: &Path, host: &str, pid: u32, tool: &str) -> std::io::Result<()> {
    let text = format!(
        "#!/bin/sh\n# Runs a command on {host}; alone, a shell.\n\
         case \"${{1:-}}\" in\n{tool}\n'') set -- \"${{SHELL:-/bin/sh}}\" ;;\nesac\n\
         exec nsenter -t {pid} -n -- \"$@\"\n"
    );
    let path = folder.join(host);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
}

fn say_how(networks: &[Network], folder: &Path) {
    println!("\n  It stays up. To look around (an executable for each host):\n");
    for line in [
        "vpn-a birdc show route",
        "vpn-c birdc show protocols",
        "gateway-a-1 l34-router show vips",
        "gateway-a-1 l34-router explain 20.0.0.1",
        "gateway-c-2 ip -6 route show table 4096",
    ] {
        println!("    {}/{line}", folder.display());
    }
    println!("\n  The folders of manifests; a change takes effect at once:\n");
    for network in networks {
        println!("    {}  {}", network.is.name, network.manifests.display());
    }
    println!("\n  To remove it all: {}\n", bold("make demo-down"));
}

/// A session of its own, and no hold on the caller's terminal or pipes.
fn leave_terminal() {
    let Ok(null) = fs::File::options().read(true).write(true).open("/dev/null") else { return };
    let null = std::os::fd::AsRawFd::as_raw_fd(&null);
    // SAFETY: plain system calls on open descriptors. This process leads no group, so setsid cannot fail.
    unsafe {
        libc::setsid();
        for standard in 0..=2 {
            libc::dup2(null, standard);
        }
    }
}

fn end(pid: u32) -> bool {
    if is_demo(pid) {
        // SAFETY: plain system call.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
        let start = Instant::now();
        while is_demo(pid) {
            if start.elapsed() > END {
                eprintln!("l34-demo: process {pid} does not end");
                return false;
            }
            thread::sleep(POLL);
        }
    }
    // There only if the demo was killed without warning.
    let _ = fs::remove_dir_all(folder_of(pid));
    println!("Removed the demo of process {pid}.");
    true
}

/// Whether the process is a kept demo, and not another one that got its number.
fn is_demo(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|octet| *octet == 0).nth(1) == Some(BACKGROUND.as_bytes())
}
