//! Probes under hostile clients.
//!
//! Claims: however many connections are held without a question, with half a question or with an unread answer, and
//! however fast new ones come, /healthz and /readyz are answered before a kubelet gives up; connections and memory stay
//! bounded. The same for the controller, which has the same server.

use l34_lab::{Controller, Host, Lab, Process, Router, wait_until};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The kubelet's default timeoutSeconds.
const PROBE: Duration = Duration::from_secs(1);
/// Rounds of probes for each number of connections.
const ROUNDS: usize = 250;
const START: Duration = Duration::from_secs(20);
/// More than the server and the rest of the process need, and far less than the clients hold.
const DESCRIPTORS: usize = 400;
const GROWTH_KIB: u64 = 32 << 10;

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: probed}
spec:
  gatewayClassName: l-3-4-gateway-api-poc/kpng
  listeners: [{name: all, port: 4000, protocol: TCP}]
";

#[test]
fn the_router_answers_probes_whatever_other_clients_do() {
    let lab = Lab::new();
    let host = lab.host("gateway");
    let addresses = addresses(9474);
    let [v4, v6] = addresses.map(|address| format!("--listen {address}"));
    let options = format!("--dataplane none --fib none {v4} {v6}");
    let router = Router::start(&lab, &host, "probed", &[("gateway.yaml", GATEWAY)], &options);
    Probed { lab: &lab, host: &host, process: router.process(), addresses, paths: &["/healthz", "/readyz"] }
        .is_answered_beside_others();
}

/// No API server is there for it: /healthz alone has a good answer.
#[test]
fn the_controller_answers_probes_whatever_other_clients_do() {
    let lab = Lab::new();
    let host = lab.host("controller");
    let kubeconfig = lab.write("kubeconfig", NO_SERVER).display().to_string();
    let args = ["run", "--kubeconfig", &kubeconfig, "--listen", "[::]:9475"];
    let process = Process::start(&host.netns, &Controller::binary(), &args, &lab.file("controller.log"));
    let addresses = addresses(9475);
    Probed { lab: &lab, host: &host, process: &process, addresses, paths: &["/healthz"] }
        .is_answered_beside_others();
}

const NO_SERVER: &str = "
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: none, user: {token: none}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
";

/// One port on each family.
fn addresses(port: u16) -> [SocketAddr; 2] {
    [([127, 0, 0, 1], port).into(), ([0, 0, 0, 0, 0, 0, 0, 1], port).into()]
}

/// A process with probes, and the host that asks.
struct Probed<'a> {
    lab: &'a Lab,
    host: &'a Host,
    process: &'a Process,
    addresses: [SocketAddr; 2],
    paths: &'a [&'a str],
}

impl Probed<'_> {
    #[track_caller]
    fn is_answered_beside_others(&self) {
        allow_descriptors();
        let (fine, _) = self.ask_all(START).unwrap_or_else(|seen| panic!("before anything else: {seen}"));
        assert!(fine > 0);
        let before = self.memory();
        for held in [40, 400, 4000] {
            let crowd = Crowd::new(self.host, self.addresses, held);
            let mut slowest = Duration::ZERO;
            for round in 0..ROUNDS {
                let (_, took) = self
                    .ask_all(PROBE)
                    .unwrap_or_else(|seen| panic!("round {round} beside {held} connections: {seen}"));
                slowest = slowest.max(took);
            }
            wait_until(START, "some metrics beside the others", || {
                match self.ask(self.addresses[0], "/metrics", PROBE) {
                    Ok(answer) if answer.contains("# EOF") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            let (descriptors, memory) = (self.descriptors(), self.memory());
            let came = crowd.stop();
            assert!(descriptors <= DESCRIPTORS, "{descriptors} descriptors beside {held} connections");
            assert!(memory < before + GROWTH_KIB, "{before} KiB, then {memory} KiB");
            self.lab.report(&format!(
                "beside {held} held connections and {came} more: {slowest:.0?} at most, {descriptors} descriptors, {memory} KiB"
            ));
        }
    }

    /// Asks every path on each family: how many were answered, and how long the slowest took.
    fn ask_all(&self, limit: Duration) -> Result<(usize, Duration), String> {
        let (mut count, mut slowest) = (0, Duration::ZERO);
        for address in self.addresses {
            for path in self.paths {
                let began = Instant::now();
                let seen = loop {
                    match self.ask(address, path, limit.saturating_sub(began.elapsed())) {
                        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => break Ok(()),
                        // Before it listens, and before it is ready; later there is no second try.
                        other if limit == PROBE || began.elapsed() > limit => {
                            break Err(format!("{other:?}"));
                        }
                        _ => {}
                    }
                };
                seen.map_err(|seen| format!("{address}{path} after {:.0?}: {seen}", began.elapsed()))?;
                count += 1;
                slowest = slowest.max(began.elapsed());
            }
        }
        Ok((count, slowest))
    }

    /// One question with a time limit, as a kubelet asks it.
    fn ask(&self, address: SocketAddr, path: &str, limit: Duration) -> Result<String, String> {
        let answer = self.host.netns.enter(|| {
            let deadline = Instant::now() + limit.max(Duration::from_millis(1));
            let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let mut stream = TcpStream::connect_timeout(&address, left())?;
            stream.set_read_timeout(Some(left()))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
            std::io::read_to_string(stream)
        });
        answer.map_err(|error| error.to_string())
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.pid())).map_or(0, Iterator::count)
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(u64::MAX)
    }
}

/// Clients that mean no good: some hold their connections, others come and come.
struct Crowd {
    _held: Vec<TcpStream>,
    stop: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    churn: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn new(host: &Host, addresses: [SocketAddr; 2], held: usize) -> Self {
        let held = host.netns.enter(|| {
            let client = |number: usize| Crowd::client(addresses[number % 2], number / 2);
            (0..held).filter_map(client).collect()
        });
        let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let churn = addresses.map(|address| {
            let (stop, came) = (stop.clone(), came.clone());
            host.netns.spawn(move || {
                let mut latest = VecDeque::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    latest.extend(Crowd::client(address, number));
                    came.fetch_add(1, Ordering::Relaxed);
                    if latest.len() > CHURN {
                        latest.pop_front();
                    }
                }
            })
        });
        Crowd { _held: held, stop, came, churn: churn.into() }
    }

    /// A connection on which nothing is said, or half a question, or whose answer is not read. Where the server takes no
    /// more there is none.
    fn client(address: SocketAddr, number: usize) -> Option<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()?;
        let said: &[u8] = match number % 8 {
            0..5 => b"",
            5 => b"GET /healthz HT",
            6 => b"GET /metrics HTTP/1.1\r\nHost: pod\r\n\r\n",
            _ => b"GET /readyz HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n",
        };
        // It may be closed already.
        let _ = stream.write_all(said);
        if number % 16 == 7 {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = stream.read(&mut [0]);
        }
        Some(stream)
    }

    /// Ends them all: how many came.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.churn {
            assert!(thread.join().is_ok(), "a client failed");
        }
        self.came.load(Ordering::Relaxed)
    }
}

/// Connections that each churning client holds.
const CHURN: usize = 300;

/// This process holds thousands of connections.
fn allow_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls with a structure that outlives them.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
