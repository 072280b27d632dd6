//! FRR: zebra, bgpd and bfdd run by hand, with their files in the lab's folder.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::wait::wait_until;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for a daemon to open its socket.
const START: Duration = Duration::from_secs(20);

/// Where Debian puts the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// FRR wants its user to be in the group `frrvty`. The daemons run as root, so that the kernel doesn't forget that
/// they shall die with the lab; each sees, in a mount namespace of its own, a group file that has root in it.
const WITH_GROUP: &str = "mount --bind \"$0\" /etc/group && exec \"$@\"";

/// FRR on one host of a lab.
#[derive(Debug)]
pub struct Frr {
    host: Host,
    dir: PathBuf,
    log: PathBuf,
    group: PathBuf,
    /// Where bgpd listens.
    port: String,
    /// bgpd first: stopped in this order.
    daemons: Vec<Process>,
}

impl Frr {
    /// Starts zebra, bfdd and bgpd; `bgpd` is bgpd's configuration. It listens on the usual port.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, bgpd: &str) -> Self {
        Self::listening_on(lab, host, 179, bgpd)
    }

    /// As [`start`](Self::start), with another port for bgpd.
    #[track_caller]
    pub fn listening_on(lab: &Lab, host: &Host, port: u16, bgpd: &str) -> Self {
        let dir = lab.folder(&format!("{}-frr", host.name));
        let group = lab.write(&format!("{}-group", host.name), &group_file());
        let log = lab.file(&format!("{}-frr.log", host.name));
        for (file, text) in [("zebra.conf", ""), ("bfdd.conf", ""), ("vtysh.conf", ""), ("bgpd.conf", bgpd)] {
            if let Err(error) = fs::write(dir.join(file), text) {
                panic!("cannot write {file}: {error}");
            }
        }
        let mut frr =
            Frr { host: host.clone(), dir, log, group, port: port.to_string(), daemons: Vec::new() };
        frr.start_again();
        frr
    }

    /// Runs one command of vtysh. Panics when FRR refuses it.
    #[track_caller]
    pub fn vtysh(&self, command: &str) -> String {
        self.commands(&[command])
    }

    /// Runs lines of configuration, from `configure terminal` on.
    #[track_caller]
    pub fn configure(&self, lines: &[&str]) {
        let mut commands = vec!["configure terminal"];
        commands.extend_from_slice(lines);
        self.commands(&commands);
    }

    /// Runs a `show ... json` command.
    #[track_caller]
    pub fn json(&self, command: &str) -> Value {
        let text = self.vtysh(command);
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("frr on {}: `{command}`: {error}: {text}", self.host.name),
        }
    }

    /// State of one neighbour as `show bgp neighbors ADDRESS json` gives it.
    #[track_caller]
    pub fn neighbor(&self, address: &str) -> Value {
        self.json(&format!("show bgp neighbors {address} json"))[address].clone()
    }

    /// Waits for an Established session.
    #[track_caller]
    pub fn established(&self, address: &str, limit: Duration) {
        let what = format!("frr on {}: session with {address} Established", self.host.name);
        wait_until(limit, &what, || match &self.neighbor(address)["bgpState"] {
            Value::String(state) if state == "Established" => Ok(()),
            state => Err(state.to_string()),
        });
    }

    /// Waits for a BFD session in the given state (`up`, `down`).
    #[track_caller]
    pub fn bfd(&self, address: &str, state: &str, limit: Duration) {
        let what = format!("frr on {}: BFD with {address} {state}", self.host.name);
        wait_until(limit, &what, || {
            let peers = self.json("show bfd peers json");
            let seen = peers.as_array().and_then(|peers| peers.iter().find(|peer| peer["peer"] == address));
            match seen {
                Some(peer) if peer["status"] == state => Ok(()),
                Some(peer) => Err(peer["status"].to_string()),
                None => Err("no such session".to_owned()),
            }
        });
    }

    /// Next hops of all BGP paths to exactly this prefix, sorted.
    #[track_caller]
    pub fn next_hops(&self, prefix: &str) -> Vec<String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.json(&format!("show bgp {family} unicast {prefix} json"));
        let paths = answer["paths"].as_array().cloned().unwrap_or_default();
        let mut hops: Vec<String> =
            paths.iter().filter_map(|path| path["nexthops"][0]["ip"].as_str().map(str::to_owned)).collect();
        hops.sort();
        hops
    }

    /// Waits until the next hops of a prefix are exactly the given ones; an empty list waits for its withdrawal.
    #[track_caller]
    pub fn has_next_hops(&self, prefix: &str, wanted: &[&str], limit: Duration) {
        let what = format!("frr on {}: {prefix} via {wanted:?}", self.host.name);
        wait_until(limit, &what, || {
            let seen = self.next_hops(prefix);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Kills all daemons without a word to their neighbours.
    pub fn kill(&mut self) {
        self.daemons.clear();
    }

    /// Starts the daemons again after [`kill`](Self::kill).
    #[track_caller]
    pub fn start_again(&mut self) {
        for daemon in ["zebra", "bfdd", "bgpd"] {
            let process = self.daemon(daemon);
            self.daemons.insert(0, process);
        }
    }

    #[track_caller]
    fn daemon(&self, name: &str) -> Process {
        let program = format!("{DAEMONS}/{name}");
        assert!(Path::new(&program).exists(), "{program} is missing (`make needs` names the package)");
        let path = |file: &str| self.dir.join(file).display().to_string();
        let group = self.group.display().to_string();
        let (config, pid, zserv, dir) =
            (path(&format!("{name}.conf")), path(&format!("{name}.pid")), path("zserv.api"), path(""));
        let bfdctl = path("bfdd.sock");
        let mut args = vec![
            "--mount", "sh", "-c", WITH_GROUP, &group, &program, "-f", &config, "-i", &pid, "-z", &zserv,
        ];
        args.extend(["--vty_socket", &dir, "-P", "0", "-u", "root", "-g", "root", "--log", "stdout"]);
        match name {
            "bfdd" => args.extend(["--bfdctl", &bfdctl]),
            "bgpd" => args.extend(["--bgp_port", &self.port]),
            _ => {}
        }
        // Sockets of an earlier life would look like an answer.
        let vty = self.dir.join(format!("{name}.vty"));
        let _ = fs::remove_file(&vty);
        let mut process = Process::start(&self.host.netns, "unshare", &args, &self.log);
        wait_until(START, &format!("{name} on {} opens its socket", self.host.name), || {
            if let Err(ended) = process.check_alive() {
                panic!("{ended}");
            }
            if vty.exists() { Ok(()) } else { Err("no socket".to_owned()) }
        });
        process
    }

    #[track_caller]
    fn commands(&self, commands: &[&str]) -> String {
        let dir = self.dir.display().to_string();
        let mut args = vec!["--vty_socket", &dir, "--config_dir", &dir];
        args.extend(commands.iter().flat_map(|command| ["-c", command]));
        self.host.netns.run("vtysh", &args)
    }
}

#[track_caller]
fn group_file() -> String {
    let group = match fs::read_to_string("/etc/group") {
        Ok(group) => group,
        Err(error) => panic!("cannot read /etc/group: {error}"),
    };
    let lines = group.lines().map(|line| match line.strip_prefix("frrvty:") {
        Some(rest) if rest.ends_with(':') => format!("{line}root\n"),
        Some(_) => format!("{line},root\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}
