//! `make demo`: three outside networks, each with a bird2 router and a Gateway of two `l34-router` before it.
//!
//! ```text
//!   vpn-a  bird2 ──┬── gateway-a-1  l34-router      IPv4, examples/kpng-gateway-api.yaml
//!                  └── gateway-a-2  l34-router
//!   vpn-b  bird2 ──┬── gateway-b-1, gateway-b-2     IPv6, examples/several-vpns.yaml
//!   vpn-c  bird2 ──┬── gateway-c-1, gateway-c-2     both, examples/several-vpns.yaml
//! ```
//!
//! Behind the gateways of each vpn, four targets answer. Each name is a network namespace of its own. They have no names in the kernel and end with this process, as
//! everything of a lab does (`l34_lab`): the host is left as it was, and two demos do not meet.

mod kept;
mod live;
mod network;
mod scenes;
mod screen;
mod signals;
mod targets;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

const USAGE: &str = "usage: l34-demo [--keep | --down]

  --keep   leave the networks up in the background
  --down   remove all that were left up";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => perform(false),
        ["--keep"] => kept::launch(),
        [kept::BACKGROUND] => perform(true),
        ["--down"] => kept::down(),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Plays the demo on this thread: all processes of the lab are its children and die with it.
fn perform(keep: bool) -> ExitCode {
    // SAFETY: plain system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("l34-demo: making network namespaces needs root: sudo -E make demo");
        return ExitCode::FAILURE;
    }
    signals::end_cleanly();
    // The lab says what went wrong by a panic with words; where in the code it was is of no use here.
    panic::set_hook(Box::new(|panic| {
        let words = panic.payload_as_str().unwrap_or("the demo has a fault of its own");
        screen::failed(words);
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| scenes::play(keep))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
