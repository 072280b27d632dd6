//! What the demo prints: steps with their time, and commands with their output.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Instant;

/// Column at which a step's time begins.
const TIME_COLUMN: usize = 84;

static COLOURS: LazyLock<bool> =
    LazyLock::new(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

/// Does a step of the demo and prints it when it is done, with the time that it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    let time = format!("{:.2} s", start.elapsed().as_secs_f64());
    println!("  {} {what:<TIME_COLUMN$}{}", green("✔"), dim(&time));
    value
}

/// A command as somebody would type it on a host, and what it printed.
pub(crate) fn command(host: &str, command: &str, output: &str) {
    println!("\n  {} {}", dim(&format!("{host}$")), bold(command));
    for line in output.trim_end().lines() {
        println!("{}", format!("  {}", line.replace('\t', "        ")).trim_end());
    }
}

/// The end that nobody wanted.
pub(crate) fn failed(words: &str) {
    eprintln!("\n  ✘ {words}\n");
}

pub(crate) fn bold(text: &str) -> String {
    styled("1", text)
}

pub(crate) fn dim(text: &str) -> String {
    styled("2", text)
}

fn green(text: &str) -> String {
    styled("32", text)
}

fn styled(style: &str, text: &str) -> String {
    if *COLOURS { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}
