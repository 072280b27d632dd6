//! A BFD daemon for one neighbour.
//!
//! ```text
//! bfdd ADDRESS INTERFACE [MIN_TX_MS MIN_RX_MS MULTIPLIER [passive]]
//! ```
//!
//! It prints a line per change and takes commands on standard input: `show`, `set MIN_TX_MS MIN_RX_MS MULTIPLIER`,
//! `admin-down`, `quit` (also at the end of input; without a word to the neighbour).

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use l34_bfd::{Config, Event, SessionConfig, SessionKey, driver};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (remote, interface, timers, passive) = match arguments[..] {
        [remote, interface] => (remote, interface, ["300", "300", "5"], false),
        [remote, interface, tx, rx, mult] => (remote, interface, [tx, rx, mult], false),
        [remote, interface, tx, rx, mult, "passive"] => (remote, interface, [tx, rx, mult], true),
        _ => return Err("usage: bfdd ADDRESS INTERFACE [MIN_TX_MS MIN_RX_MS MULTIPLIER [passive]]".into()),
    };
    let key = SessionKey { remote: remote.parse()?, interface: interface.to_owned() };
    let session = |timers: [&str; 3]| -> Result<SessionConfig, Box<dyn Error>> {
        let local = driver::kernel_choice(&key);
        Ok(SessionConfig { key: key.clone(), local, config: config(timers, passive)? })
    };

    let handle = driver::spawn(driver::Options::default(), print)?;
    handle.configure(vec![session(timers)?]);
    for line in std::io::stdin().lock().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["show"] => println!("{:#?}\nof no session: {:?}", handle.views(), handle.discarded()),
            ["set", tx, rx, mult] => handle.configure(vec![session([tx, rx, mult])?]),
            ["admin-down"] => handle.admin_down_all(),
            ["quit"] => break,
            _ => println!("commands: show, set MIN_TX_MS MIN_RX_MS MULTIPLIER, admin-down, quit"),
        }
    }
    handle.shutdown();
    Ok(())
}

fn config([tx, rx, mult]: [&str; 3], passive: bool) -> Result<Config, Box<dyn Error>> {
    Ok(Config {
        desired_min_tx: Duration::from_millis(tx.parse()?),
        required_min_rx: Duration::from_millis(rx.parse()?),
        detect_mult: mult.parse()?,
        passive,
    })
}

fn print(Event { key, change }: Event) {
    let silence = change.last_rx.map(|last_rx| change.at - last_rx);
    println!(
        "{}%{} {} -> {} ({}; remote: {}{}), last packet {silence:?} before",
        key.remote,
        key.interface,
        change.previous,
        change.state,
        change.diag,
        change.remote_diag,
        if change.remote_admin_down { ", AdminDown" } else { "" },
    );
}
