//! `l34-connect`: many connections to a VIP, and who answered them.

use l34_connect::options::{Command, Options, Output, USAGE, parse};
use l34_connect::server::{Ending, Server};
use l34_connect::{client, probe};
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => return print(USAGE),
        Ok(Command::Version) => return print(&format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Err(words) => {
            eprintln!("l34-connect: {words}; see l34-connect -help");
            return ExitCode::from(2);
        }
    };
    let end = if options.server { serve(&options) } else { connect(&options) };
    end.unwrap_or_else(|words| {
        eprintln!("l34-connect: {words}");
        ExitCode::FAILURE
    })
}

fn connect(options: &Options) -> Result<ExitCode, String> {
    let report = client::run(options).map_err(|error| error.to_string())?;
    print(&match options.output {
        Output::Text => report.to_string(),
        Output::Json => report.json() + "\n",
    });
    Ok(if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(options: &Options) -> Result<ExitCode, String> {
    let name = l34_connect::server::host_name().map_err(|error| format!("the host's name: {error}"))?;
    let mut server = Server::new(name.clone()).map_err(|error| error.to_string())?;
    let at = |what: &str, error: io::Error| format!("{what}: {error}");
    let address = listening(&options.address)?;
    let listens = server.listen_tcp(address).map_err(|error| at(&options.address, error))?;
    eprintln!("Listen on address; {listens}");
    if options.udp {
        let listens = server.listen_udp(address).map_err(|error| at(&options.address, error))?;
        eprintln!("Listen on UDP address; {listens}");
    }
    if let Some(address) = &options.k8sprobe {
        probe::serve(listening(address)?, name).map_err(|error| at(address, error))?;
        eprintln!("K8s Liveness on; http://{address}/healthz");
    }
    server.run(Ending::default()).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// An address to listen on; without a host it means all.
fn listening(address: &str) -> Result<SocketAddr, String> {
    let full = if address.starts_with(':') { format!("[::]{address}") } else { address.to_owned() };
    let mut found = full.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    found.next().ok_or_else(|| format!("{address}: no such address"))
}

/// Prints to somebody who may have gone already.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
