//! `l34-controller`: turns the Gateways, Services and Pods of a cluster into gateway pods, EndpointSlices and status.

mod cleanup;
mod cli;
mod config;
mod evidence;
mod leader;
mod platform;
mod queue;
mod reconcile;
mod report;
mod run;
mod tell;
mod watches;
mod write;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed where they were asked for; a reader that has gone away needs no help.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(args) => {
            start_log(args.log_format);
            run::run(&args)
        }
        Command::Cleanup(args) => {
            start_log(args.log_format);
            cleanup::cleanup(&args)
        }
        Command::Version => {
            println!("l34-controller {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("l34-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the log on standard error; RUST_LOG filters, `info` by default.
fn start_log(format: cli::LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(l34_source::cluster::LOG_FILTER));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        cli::LogFormat::Text => builder.with_ansi(false).init(),
        cli::LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
