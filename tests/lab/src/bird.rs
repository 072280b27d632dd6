//! bird2: the daemon, and a client that speaks its control socket without starting `birdc`.

mod client;

pub use client::BirdClient;

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::wait::wait_until;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for bird to open its control socket.
const START: Duration = Duration::from_secs(10);

/// A running bird2 on a host of a lab.
#[derive(Debug)]
pub struct Bird {
    host: Host,
    process: Process,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    client: RefCell<BirdClient>,
}

/// A line of `show protocols`, with the details of `show protocols all`.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// Instance name, `gateway4_1`.
    pub name: String,
    /// `BGP`, `Kernel`, ...
    pub kind: String,
    /// `up`, `start`, `down`, ...
    pub state: String,
    /// Time of the last change of state, in seconds since the epoch when the configuration has
    /// `timeformat protocol "%s.%6f"` as [`Vpn`](crate::Vpn) has; else 0.
    pub since: f64,
    /// The rest of the line: for BGP its state and the last error.
    pub info: String,
    /// The indented lines below it.
    pub details: Vec<String>,
}

impl Bird {
    /// Starts bird with the given configuration and waits until it answers.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, config: &str) -> Self {
        let config = lab.write(&format!("{}-bird.conf", host.name), config);
        let socket = lab.file(&format!("{}-bird.sock", host.name));
        let log = lab.file(&format!("{}-bird.log", host.name));
        let (process, client) = start(host, &config, &socket, &log, &[]);
        Bird { host: host.clone(), process, config, socket, log, client: RefCell::new(client) }
    }

    /// Runs one command of `birdc` and returns its answer, codes removed. Panics on an error of bird's.
    #[track_caller]
    pub fn query(&self, command: &str) -> String {
        match self.client.borrow_mut().query(command) {
            Ok(answer) => answer,
            Err(error) => panic!("bird on {}: `{command}`: {error}", self.host.name),
        }
    }

    /// A further connection to the control socket, for a thread of its own.
    #[track_caller]
    pub fn client(&self) -> BirdClient {
        match BirdClient::connect(&self.socket) {
            Ok(client) => client,
            Err(error) => panic!("bird on {}: {error}", self.host.name),
        }
    }

    /// `show protocols all`.
    #[track_caller]
    pub fn protocols(&self) -> Vec<Protocol> {
        parse_protocols(&self.query("show protocols all"))
    }

    /// The BGP instance with the given neighbour address, the youngest if several were spawned for it.
    #[track_caller]
    pub fn neighbor(&self, address: &str) -> Option<Protocol> {
        self.protocols().into_iter().rfind(|protocol| protocol.neighbor_address() == Some(address))
    }

    /// Waits for an Established session with the given neighbour.
    #[track_caller]
    pub fn established(&self, address: &str, limit: Duration) -> Protocol {
        let what = format!("bird on {}: session with {address} Established", self.host.name);
        wait_until(limit, &what, || match self.neighbor(address) {
            Some(protocol) if protocol.established() => Ok(protocol),
            Some(protocol) => Err(format!("{} {} {}", protocol.name, protocol.state, protocol.info)),
            None => Err("no such neighbour".to_owned()),
        })
    }

    /// Asserts that the session with the given neighbour is Established and the one that began at `since`.
    #[track_caller]
    pub fn untouched(&self, address: &str, since: f64) {
        let Some(session) = self.neighbor(address).filter(Protocol::established) else {
            panic!("bird on {}: the session with {address} is gone", self.host.name);
        };
        // bird works the time out anew for each answer, a few microseconds to and fro.
        let moved = (session.since - since).abs() > 0.005;
        assert!(!moved, "bird on {}: the session with {address} began anew", self.host.name);
    }

    /// Waits until no session with the given neighbour is Established.
    #[track_caller]
    pub fn lost(&self, address: &str, limit: Duration) {
        let what = format!("bird on {}: session with {address} gone", self.host.name);
        wait_until(limit, &what, || match self.neighbor(address) {
            Some(protocol) if protocol.established() => Err("Established".to_owned()),
            _ => Ok(()),
        });
    }

    /// Next hops of all routes to exactly this prefix, sorted.
    #[track_caller]
    pub fn next_hops(&self, prefix: &str) -> Vec<String> {
        next_hops(&self.query(&format!("show route {prefix}")))
    }

    /// Waits until the next hops of a prefix are exactly the given ones; an empty list waits for its withdrawal.
    #[track_caller]
    pub fn has_next_hops(&self, prefix: &str, wanted: &[&str], limit: Duration) {
        let what = format!("bird on {}: {prefix} via {wanted:?}", self.host.name);
        wait_until(limit, &what, || {
            let seen = self.next_hops(prefix);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Replaces the configuration (`configure`): bird restarts only the protocols that changed.
    #[track_caller]
    pub fn configure(&self, config: &str) {
        self.write_config(config);
        self.query("configure");
    }

    /// Ends bird by SIGTERM (its routes leave the kernel) and starts it again with the same configuration.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.stop(Duration::from_secs(10));
        self.start_again();
    }

    /// Kills bird without a word to its neighbours.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts bird again after [`kill`](Self::kill).
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_with(&[]);
    }

    /// Starts bird again after [`kill`](Self::kill), with another configuration and as one that knows that it restarts
    /// (`-R`): it tells its graceful restart peers that forwarding went on.
    #[track_caller]
    pub fn recover(&mut self, config: &str) {
        self.write_config(config);
        self.start_with(&["-R"]);
    }

    #[track_caller]
    fn start_with(&mut self, options: &[&str]) {
        let (process, client) = start(&self.host, &self.config, &self.socket, &self.log, options);
        self.process = process;
        self.client = RefCell::new(client);
    }

    #[track_caller]
    fn write_config(&self, config: &str) {
        if let Err(error) = std::fs::write(&self.config, config) {
            panic!("cannot write {}: {error}", self.config.display());
        }
    }

    /// The daemon's process, to signal it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The control socket, for `birdc -s`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Protocol {
    /// Whether this is a BGP session in state Established.
    pub fn established(&self) -> bool {
        self.kind == "BGP" && self.info.starts_with("Established")
    }

    /// Address of a BGP neighbour, without a zone.
    pub fn neighbor_address(&self) -> Option<&str> {
        self.detail("Neighbor address").and_then(|address| address.split('%').next())
    }

    /// Value of a `key: value` line of the details.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details.iter().find_map(|line| Some(line.trim().strip_prefix(key)?.strip_prefix(':')?.trim()))
    }
}

#[track_caller]
fn start(host: &Host, config: &Path, socket: &Path, log: &Path, options: &[&str]) -> (Process, BirdClient) {
    let [config, socket_arg] = [config, socket].map(|path| path.display().to_string());
    let args = [&["-f", "-c", &config, "-s", &socket_arg], options].concat();
    let mut process = Process::start(&host.netns, "bird", &args, log);
    let what = format!("bird on {} answers", host.name);
    let client = wait_until(START, &what, || {
        if let Err(ended) = process.check_alive() {
            panic!("{ended}");
        }
        BirdClient::connect(socket)
    });
    (process, client)
}

fn next_hops(answer: &str) -> Vec<String> {
    let mut hops: Vec<String> = answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("via ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    hops.sort();
    hops.dedup();
    hops
}

fn parse_protocols(answer: &str) -> Vec<Protocol> {
    let mut protocols: Vec<Protocol> = Vec::new();
    // The first line is the heading.
    for line in answer.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        if line.starts_with(char::is_whitespace) {
            if let Some(protocol) = protocols.last_mut() {
                protocol.details.push(line.trim().to_owned());
            }
            continue;
        }
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (name, kind, _table, state, since) = (word(), word(), word(), word(), word());
        let since = since.parse().unwrap_or_default();
        let info = words.collect::<Vec<_>>().join(" ");
        protocols.push(Protocol { name, kind, state, since, info, details: Vec::new() });
    }
    protocols
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOLS: &str = "\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     1795500000.123456  
gateway4_1 BGP        ---        up     1795500001.000001  Established   
  BGP state:          Established
    Neighbor address: fe80::1%vlan1
    Last error:       Socket: Connection closed
";

    #[test]
    fn protocols_keep_their_details() {
        let protocols = parse_protocols(PROTOCOLS);
        assert_eq!(protocols.len(), 2);
        assert_eq!(protocols[0].details, Vec::<String>::new());
        let session = &protocols[1];
        assert!(session.established());
        assert_eq!(session.since, 1_795_500_001.000_001);
        assert_eq!(session.neighbor_address(), Some("fe80::1"));
        assert_eq!(session.detail("Last error"), Some("Socket: Connection closed"));
    }

    #[test]
    fn next_hops_are_those_of_all_paths() {
        let answer = "Table master4:\n20.0.0.1/32 unicast [a 1.0] * (100) [AS8103i]\n\tvia 169.254.100.3 on vlan1\n\
                      unicast [b 1.0] (100) [AS8103i]\n\tvia 169.254.100.2 on vlan1\n";
        assert_eq!(next_hops(answer), ["169.254.100.2", "169.254.100.3"]);
    }
}
