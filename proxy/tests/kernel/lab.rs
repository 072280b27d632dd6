//! A gateway between a client and endpoints, each in a network namespace of its own:
//!
//! ```text
//! client                         gateway                      endpoints
//! 200.100.0.100, 200:100::100    table l34                    169.255.100.11 to .14, fd00:255::11 to ::14
//! client0 169.254.100.150 ------ outside 169.254.100.1
//!         100:100::150                   100:100::1
//!                                inside  169.255.100.1 ------ inside0 (default route: gateway)
//!                                        fd00:255::1
//!                                decoy ---------------------- sink (counts what arrives)
//! ```
//!
//! The gateway's main table has a default route to the sink; marked packets go by table 4096 to the client.

use l34_proxy::nftables::SYSCTLS;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) const V4: &str = "20.0.0.1";
pub(crate) const V6: &str = "2000::1";
pub(crate) const CLIENT4: &str = "200.100.0.100";
pub(crate) const CLIENT6: &str = "200:100::100";
pub(crate) const GATEWAY4: &str = "169.255.100.1";
pub(crate) const GATEWAY6: &str = "fd00:255::1";
/// Port that every endpoint serves, over TCP and UDP.
pub(crate) const PORT: u16 = 5000;

/// How many ports from [`PORT`] on every endpoint serves over TCP.
pub(crate) const TCP_PORTS: u16 = 20;

pub(crate) struct Lab {
    prefix: String,
}

/// What an endpoint says of a request: its own address, and whom it saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) endpoint: SocketAddr,
    pub(crate) client: IpAddr,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let prefix = format!("lx-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { prefix };
        for part in PARTS {
            lab.run("ip", &["netns", "add", &lab.name(part)]);
            // Addresses are usable at once.
            lab.sysctl(part, "net.ipv6.conf.default.accept_dad", "0");
        }
        lab.links();
        lab.addresses();
        lab.nft(
            "sink",
            "table inet count { chain arrived { type filter hook prerouting priority -300;
            ip6 saddr fe80::/10 accept; ip6 saddr :: accept; counter;\n}\n}",
        );
        lab.serve();
        lab
    }

    pub(crate) fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// Runs something with its sockets in one of the namespaces.
    pub(crate) fn inside<T: Send>(&self, part: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&self.name(part));
                    work()
                })
                .join()
                .unwrap()
        })
    }

    /// A command in one of the namespaces; its output if it succeeded.
    pub(crate) fn command(&self, part: &str, words: &str) -> Result<String, String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(part)]).args(words.split_whitespace());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Loads nft text; nft serves as the other party and as a witness, never as our tool.
    pub(crate) fn nft(&self, part: &str, text: &str) {
        self.pipe(&["netns", "exec", &self.name(part), "nft", "-f", "-"], text);
    }

    /// Runs lines of `ip` commands in a namespace; those that start with `-6` are for IPv6.
    pub(crate) fn ip(&self, part: &str, lines: &str) {
        let (v6, v4): (Vec<&str>, Vec<&str>) =
            lines.lines().map(str::trim).partition(|l| l.starts_with("-6"));
        let v6: Vec<&str> = v6.iter().map(|line| line.trim_start_matches("-6")).collect();
        self.pipe(&["-n", &self.name(part), "-batch", "-"], &v4.join("\n"));
        self.pipe(&["-6", "-n", &self.name(part), "-batch", "-"], &v6.join("\n"));
    }

    pub(crate) fn sysctl(&self, part: &str, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.inside(part, || std::fs::write(path, value).unwrap());
    }

    /// Packets that reached the sink.
    pub(crate) fn leaked(&self) -> u64 {
        self.counted("sink")
    }

    /// What the only counter of the table `inet count` shows.
    pub(crate) fn counted(&self, part: &str) -> u64 {
        let listing = self.command(part, "nft list table inet count").unwrap();
        let (_, rest) = listing.split_once("counter packets ").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// One TCP request.
    pub(crate) fn tcp(&self, from: &str, to: &str) -> std::io::Result<Seen> {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(from, || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(Seen::parse(&answer))
        })
    }

    /// A TCP connection that stays open.
    pub(crate) fn connect(&self, from: &str, to: &str) -> TcpStream {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(from, || TcpStream::connect_timeout(&to, PATIENCE).unwrap())
    }

    /// One UDP request; an ICMP error shows as `ConnectionRefused`.
    pub(crate) fn udp(&self, from: &str, to: &str) -> std::io::Result<Seen> {
        let socket = self.udp_socket(from, to);
        ask(&socket)
    }

    pub(crate) fn udp_socket(&self, from: &str, to: &str) -> UdpSocket {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(from, || {
            let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
    }

    pub(crate) fn ping(&self, from: &str, to: &str) -> Result<String, String> {
        self.command(from, &format!("ping -n -c 2 -i 0.2 -w 1 {to}"))
    }

    fn links(&self) {
        let [client, gateway, endpoints, sink] = PARTS.map(|part| self.name(part));
        let link = |a: &str, ns: &str, b: &str, peer: &str| {
            let words = format!("-n {ns} link add {a} type veth peer name {b} netns {peer}");
            self.run("ip", &words.split(' ').collect::<Vec<_>>());
        };
        link("outside", &gateway, "client0", &client);
        link("inside", &gateway, "inside0", &endpoints);
        link("decoy", &gateway, "sink0", &sink);
        for (part, links) in [
            ("client", &["lo", "client0"][..]),
            ("gateway", &["lo", "outside", "inside", "decoy"]),
            ("endpoints", &["lo", "inside0"]),
            ("sink", &["lo", "sink0"]),
        ] {
            links.iter().for_each(|link| self.ip(part, &format!("link set {link} up")));
        }
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            self.sysctl("gateway", key, "1");
        }
        for (key, value) in SYSCTLS {
            self.sysctl("gateway", key, value);
        }
        for link in ["all", "outside", "inside", "decoy"] {
            self.sysctl("gateway", &format!("net.ipv4.conf.{link}.rp_filter"), "0");
        }
    }

    fn addresses(&self) {
        self.ip(
            "client",
            &format!(
                "addr add 169.254.100.150/24 dev client0
             addr add 100:100::150/64 dev client0 nodad
             addr add {CLIENT4}/32 dev lo
             addr add {CLIENT6}/128 dev lo nodad
             route add 20.0.0.0/24 via 169.254.100.1 src {CLIENT4}
             -6 route add 2000::/64 via 100:100::1 src {CLIENT6}"
            ),
        );
        self.ip(
            "gateway",
            "addr add 169.254.100.1/24 dev outside
             addr add 100:100::1/64 dev outside nodad
             addr add 169.255.100.1/24 dev inside
             addr add fd00:255::1/64 dev inside nodad
             addr add 10.9.9.1/24 dev decoy
             addr add fd00:9::1/64 dev decoy nodad
             route add default via 10.9.9.2
             -6 route add default via fd00:9::2
             route add default via 169.254.100.150 table 4096
             -6 route add default via 100:100::150 table 4096
             route add blackhole default table 4097
             -6 route add blackhole default table 4097
             rule add fwmark 0x4c000000/0xff000000 priority 100 table 4096
             -6 rule add fwmark 0x4c000000/0xff000000 priority 100 table 4096
             rule add fwmark 0x4c000000/0xff000000 priority 101 table 4097
             -6 rule add fwmark 0x4c000000/0xff000000 priority 101 table 4097",
        );
        for i in 11..=14 {
            self.ip(
                "endpoints",
                &format!(
                    "addr add 169.255.100.{i}/24 dev inside0
                 addr add fd00:255::{i}/64 dev inside0 nodad"
                ),
            );
        }
        self.ip(
            "endpoints",
            "route add default via 169.255.100.1
             -6 route add default via fd00:255::1",
        );
        self.ip(
            "sink",
            "addr add 10.9.9.2/24 dev sink0
             addr add fd00:9::2/64 dev sink0 nodad",
        );
    }

    /// Every endpoint answers, for as long as the test runs.
    fn serve(&self) {
        for port in PORT..PORT + TCP_PORTS {
            let listener = self.inside("endpoints", || TcpListener::bind(format!("[::]:{port}")).unwrap());
            std::thread::spawn(move || {
                while let Ok((mut stream, client)) = listener.accept() {
                    let local = stream.local_addr().unwrap();
                    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
                    // A client that has gone already is its own affair.
                    let _ = write!(stream, "{local} {}", client.ip().to_canonical());
                }
            });
        }
        for i in 11..=14 {
            for address in [format!("169.255.100.{i}:{PORT}"), format!("[fd00:255::{i}]:{PORT}")] {
                let socket = self.inside("endpoints", || UdpSocket::bind(&address).unwrap());
                std::thread::spawn(move || {
                    let mut request = [0; 64];
                    while let Ok((_, client)) = socket.recv_from(&mut request) {
                        let _ = socket.send_to(format!("{address} {}", client.ip()).as_bytes(), client);
                    }
                });
            }
        }
    }

    fn pipe(&self, args: &[&str], text: &str) {
        let mut child = Command::new("ip").args(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "ip {args:?}: {text}");
    }

    fn run(&self, program: &str, args: &[&str]) {
        assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
    }
}

/// Removes what a run has left that was killed: its namespaces have names, and outlive it.
fn sweep() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let process = name.strip_prefix("lx-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for part in PARTS {
            let _ = Command::new("ip").args(["netns", "del", &self.name(part)]).status();
        }
    }
}

impl Seen {
    fn parse(answer: &str) -> Self {
        let (endpoint, client) = answer.split_once(' ').unwrap();
        Seen { endpoint: endpoint.parse().unwrap(), client: client.parse().unwrap() }
    }
}

/// Waits until something is so, for a while.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + 3 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < patience, "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request over a UDP socket that is connected to a service.
pub(crate) fn ask(socket: &UdpSocket) -> std::io::Result<Seen> {
    socket.send(b"Hello")?;
    let mut answer = [0; 128];
    let len = socket.recv(&mut answer)?;
    Ok(Seen::parse(std::str::from_utf8(&answer[..len]).unwrap()))
}

fn enter(namespace: &str) {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    // SAFETY: plain system call on a descriptor that lives through it; it moves this thread alone.
    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

const PARTS: [&str; 4] = ["client", "gateway", "endpoints", "sink"];
const PATIENCE: Duration = Duration::from_secs(2);
