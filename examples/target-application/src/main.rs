//! `l34-target`: what runs in the Pods behind the examples' Services.

use l34_connect::duration::GoDuration;
use l34_connect::flags::Args;
use l34_connect::server::{Ending, Server, host_name};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: l34-target [flags]

Answers everybody with its name, in the protocol of mconnect. After SIGTERM it goes on for a moment, then lets open
connections come to their end.

  --name NAME          what it answers (default: the host's name)
  --address ADDRESS    where it listens (default ::, which means all of IPv4 as well)
  --tcp PORT,...       TCP ports (default 4000,4001,4002)
  --udp PORT,...       UDP ports (default 4100,4101)
  --grace DURATION     how long it accepts connections after SIGTERM (default 2s)
  --drain DURATION     how long they may stay open after that (default 10s)
  --version            print the version

Exit code: 0 ended by a signal, 1 an address cannot be had, 2 wrong flags.
";

fn main() -> ExitCode {
    let args = Args::new(std::env::args().skip(1));
    let options = match parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("l34-target: {words}; see l34-target --help");
            return ExitCode::from(2);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("l34-target: {words}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    name: Option<String>,
    address: IpAddr,
    tcp: Vec<u16>,
    udp: Vec<u16>,
    grace: Duration,
    drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: None,
            address: Ipv6Addr::UNSPECIFIED.into(),
            tcp: vec![4000, 4001, 4002],
            udp: vec![4100, 4101],
            grace: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}

fn serve(options: Options) -> Result<(), String> {
    let name =
        options.name.map_or_else(host_name, Ok).map_err(|error| format!("the host's name: {error}"))?;
    let mut server = Server::new(name).map_err(|error| error.to_string())?;
    for port in options.tcp {
        let address = SocketAddr::new(options.address, port);
        server.listen_tcp(address).map_err(|error| format!("TCP {address}: {error}"))?;
    }
    for port in options.udp {
        let address = SocketAddr::new(options.address, port);
        server.listen_udp(address).map_err(|error| format!("UDP {address}: {error}"))?;
    }
    let ending = Ending { grace: options.grace, drain: options.drain };
    server.run(ending).map_err(|error| error.to_string())
}

/// Nothing when all that was asked for was printed.
fn parse(mut args: Args) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(flag) = args.flag()? {
        match flag.name.as_str() {
            "name" => options.name = Some(args.value(&flag)?),
            "address" => options.address = args.parse(&flag)?,
            "tcp" => options.tcp = ports(&args.value(&flag)?)?,
            "udp" => options.udp = ports(&args.value(&flag)?)?,
            "grace" => options.grace = args.parse::<GoDuration>(&flag)?.0,
            "drain" => options.drain = args.parse::<GoDuration>(&flag)?.0,
            "version" => {
                println!("{}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            "h" | "help" => {
                print!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(flag.unknown()),
        }
    }
    Ok(Some(options))
}

/// An empty list switches a protocol off.
fn ports(list: &str) -> Result<Vec<u16>, String> {
    let ports = list.split(',').map(str::trim).filter(|port| !port.is_empty());
    ports.map(|port| port.parse().map_err(|_| format!("`{port}` is no port"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Option<Options>, String> {
        parse(Args::new(line.split_whitespace().map(str::to_owned)))
    }

    #[test]
    fn without_flags_it_serves_what_the_examples_use() {
        let options = parse_line("").unwrap().unwrap();
        assert_eq!((options.tcp, options.udp), (vec![4000, 4001, 4002], vec![4100, 4101]));
        assert!(options.address.is_unspecified() && options.address.is_ipv6());
    }

    #[test]
    fn ports_are_lists() {
        let options = parse_line("--tcp 1,2 --udp= --grace 500ms").unwrap().unwrap();
        assert_eq!((options.tcp, options.udp), (vec![1, 2], vec![]));
        assert_eq!(options.grace, Duration::from_millis(500));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, words) in [
            ("--tcp 4000,many", "`many` is no port"),
            ("--tcp 70000", "`70000` is no port"),
            ("--address here", "-address here: invalid IP address syntax"),
            ("--port 1", "unknown flag -port"),
        ] {
            assert_eq!(parse_line(line), Err(words.to_owned()));
        }
    }
}
