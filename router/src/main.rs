//! `l34-router`: the router of one Gateway, and the commands that look into a running one.

mod admin;
mod app;
mod bfd_link;
mod cli;
mod drain;
mod explain;
mod fib;
mod history;
mod kernel_link;
mod logging;
mod plane_link;
mod run;
mod settings;
mod show;
mod text;
mod translate;
mod views;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            logging::start(args.log_format);
            run::run(&args)
        }
        Command::Show(args) => show::show(&args).map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => show::explain(&args).map(|()| ExitCode::SUCCESS),
        Command::Version => {
            println!("l34-router {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("l34-router: {error:#}");
        ExitCode::FAILURE
    })
}
