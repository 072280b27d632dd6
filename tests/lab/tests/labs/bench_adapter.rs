//! The benchmark's adapter, loaded as a harness loads it:
//!
//! ```text
//!   the speaker that the adapter starts ---- segment ---- bird, a sink
//!     bbd0 10.99.0.1, AS 65000                            10.99.1.1, AS 65100
//! ```
//!
//! Claims: both speakers start with the arguments that it gives, and announce what it says.

use l34_lab::{Bird, Lab, Router, source_file};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const SPEAKER: &str = "10.99.0.1";
/// Python and a session.
const START: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(10);

const SINK: &str = "
router id 10.99.1.1;
protocol device {}
protocol bgp speaker {
	local 10.99.1.1 as 65100;
	neighbor 10.99.0.1 as 65000;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 { import all; export none; };
}
";

#[test]
fn the_adapter_starts_the_router() {
    announces_and_withdraws("l34-router");
}

#[test]
fn the_adapter_starts_the_plain_speaker() {
    announces_and_withdraws("l34");
}

#[track_caller]
fn announces_and_withdraws(speaker: &str) {
    let lab = Lab::new();
    let (dut, sink) = (lab.host("dut"), lab.host("sink"));
    let segment = lab.segment();
    segment.attach(&dut, "bbd0", &["10.99.0.1/16"]);
    segment.attach(&sink, "eth0", &["10.99.1.1/16"]);
    let bird = Bird::start(&lab, &sink, SINK);
    let harness = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs/bench_adapter");
    let binary = Router::binary();
    let mut command = dut.netns.command("python3");
    command
        .arg(format!("{harness}/drive.py"))
        .arg(source_file("tests/bench/adapter.py"))
        .arg(speaker)
        .env("L34_BIN", Path::new(&binary).parent().unwrap_or(Path::new("")))
        .env("BENCH_FOLDER", lab.file("speaker"))
        // Nothing is left beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped());
    let mut harness = match command.spawn() {
        Ok(child) => Harness(child),
        Err(error) => panic!("cannot start python3: {error} (`make needs` names what is missing)"),
    };
    bird.has_next_hops("20.0.0.1/32", &[SPEAKER], START);
    harness.change("add", "20.0.0.2/32");
    bird.has_next_hops("20.0.0.2/32", &[SPEAKER], SOON);
    harness.change("remove", "20.0.0.2/32");
    bird.has_next_hops("20.0.0.2/32", &[], SOON);
    bird.has_next_hops("20.0.0.1/32", &[SPEAKER], SOON);
}

/// The process that has loaded the adapter; the speaker ends with it.
struct Harness(Child);

impl Harness {
    #[track_caller]
    fn change(&mut self, change: &str, net: &str) {
        let written = self.0.stdin.as_mut().map(|input| writeln!(input, "{change} {net}"));
        assert!(matches!(written, Some(Ok(()))), "the adapter has ended: {:?}", self.0.try_wait());
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
