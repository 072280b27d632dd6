//! `l34-router`: the router of one Gateway, and the commands that look into a running one.

mod admin;
mod app;
mod bfd_link;
mod bfd_source;
mod bgp_link;
mod check;
mod cli;
mod drain;
mod explain;
mod fib;
mod history;
mod kernel_link;
mod logging;
mod metrics;
mod plane_link;
mod probes;
mod readiness;
mod report;
mod reporter;
mod run;
mod settings;
mod show;
mod source;
mod text;
mod translate;
mod views;
mod way_back;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Run(args) => {
            logging::start(args.log_format);
            run::run(&args)
        }
        Command::Show(args) => show::show(&args).map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => show::explain(&args).map(|()| ExitCode::SUCCESS),
        Command::Sysctls(args) => settings::command(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::command(&args),
        Command::Version => {
            show::print(concat!("l34-router ", env!("CARGO_PKG_VERSION"))).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("l34-router: {error:#}");
        ExitCode::FAILURE
    })
}

/// Help and version as asked for; what is wrong with the flags in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that has gone away needs no help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprintln!(
            "l34-router: a command is missing: run, show, explain, sysctls, check or version (see --help)"
        );
        return ExitCode::from(2);
    }
    let text = error.render().to_string();
    let beside = |line: &str| ["Usage:", "tip:", "For more"].iter().any(|start| line.starts_with(start));
    let lines = text.lines().map(str::trim).take_while(|line| !beside(line)).filter(|line| !line.is_empty());
    let words = lines.collect::<Vec<_>>().join(" ");
    eprintln!("l34-router: {} (see --help)", words.trim_start_matches("error: "));
    ExitCode::from(2)
}
