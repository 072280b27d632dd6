//! The command line of `l34-connect`.

use crate::duration::GoDuration;
use crate::flags::Args;
use ipnet::IpNet;
use std::str::FromStr;
use std::time::Duration;

/// What the flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Be the server.
    pub server: bool,
    /// Address and port, of the server or to listen on.
    pub address: String,
    /// Range of source addresses.
    pub srccidr: Option<IpNet>,
    /// Connections to make.
    pub nconn: u32,
    /// Keep connections open.
    pub keep: bool,
    /// UDP instead of TCP; as server: UDP besides TCP.
    pub udp: bool,
    /// Seed of what is random; 0 for a new one each time.
    pub seed: u64,
    /// Connections that are made at a time, at least 1.
    pub maxconcurrent: u32,
    /// How results are printed.
    pub output: Output,
    /// How long the whole run may take; zero for the default.
    pub timeout: Duration,
    /// Where a server answers Kubernetes' probes over HTTP.
    pub k8sprobe: Option<String>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One line of JSON.
    Json,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be client or server.
    Run(Options),
    /// Print the usage.
    Help,
    /// Print the version.
    Version,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            server: false,
            address: "[::1]:5001".to_owned(),
            srccidr: None,
            nconn: 1,
            keep: false,
            udp: false,
            seed: 0,
            maxconcurrent: 64,
            output: Output::Text,
            timeout: Duration::ZERO,
            k8sprobe: None,
        }
    }
}

impl Options {
    /// How long the whole run may take.
    pub fn deadline(&self) -> Duration {
        match (self.timeout, self.keep) {
            (Duration::ZERO, false) => TIMEOUT,
            (Duration::ZERO, true) => TIMEOUT_OF_KEEP,
            (timeout, _) => timeout,
        }
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "txt" => Ok(Output::Text),
            "json" => Ok(Output::Json),
            _ => Err("neither txt nor json".to_owned()),
        }
    }
}

/// Reads a command line without the program's name.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut args = Args::new(args);
    if args.is_empty() {
        return Ok(Command::Help);
    }
    let mut options = Options::default();
    while let Some(flag) = args.flag()? {
        match flag.name.as_str() {
            "address" => options.address = args.value(&flag)?,
            "nconn" => options.nconn = args.parse(&flag)?,
            "timeout" => options.timeout = args.parse::<GoDuration>(&flag)?.0,
            "srccidr" => options.srccidr = Some(args.parse(&flag)?),
            "keep" => options.keep = flag.switch()?,
            "udp" => options.udp = flag.switch()?,
            "seed" => options.seed = args.parse(&flag)?,
            "maxconcurrent" => options.maxconcurrent = args.parse(&flag)?,
            "output" => options.output = args.parse(&flag)?,
            "server" => options.server = flag.switch()?,
            "k8sprobe" => options.k8sprobe = Some(args.value(&flag)?),
            "version" => return Ok(Command::Version),
            "h" | "help" => return Ok(Command::Help),
            _ => return Err(flag.unknown()),
        }
    }
    if options.maxconcurrent == 0 {
        return Err("-maxconcurrent 0: at least one connection has to be made at a time".to_owned());
    }
    Ok(Command::Run(options))
}

/// For people.
pub const USAGE: &str = "usage: l34-connect -address ADDRESS:PORT [flags]

Makes many connections to an address, which is supposed to be a VIP before many servers, and prints how many each
server answered. All servers run `l34-connect -server`.

  -address ADDRESS:PORT    the server's, or to listen on (default [::1]:5001)
  -nconn N                 connections to make (default 1)
  -timeout DURATION        for the whole run, as 2s or 1m30s (default 8s; with -keep 1h)
  -maxconcurrent N         connections to make at a time (default 64)
  -srccidr CIDR            use source addresses out of this range
  -seed N                  the same seed, the same source addresses (default: a new one each time)
  -keep                    keep connections open until the time is over or Ctrl-C; lost ones are failed reads
  -udp                     UDP instead of TCP; with -server: besides TCP
  -output txt|json         how results are printed (default txt)
  -server                  be the server
  -k8sprobe ADDRESS:PORT   with -server: answer Kubernetes' probes at http://ADDRESS:PORT/healthz
  -version                 print the version

Exit code: 0 all connections were answered, 1 some were not, 2 wrong flags.
";

const TIMEOUT: Duration = Duration::from_secs(8);
const TIMEOUT_OF_KEEP: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(line: &str) -> Options {
        match parse_line(line) {
            Ok(Command::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_walk_throughs_command_is_read() {
        let options = options("-address 20.0.0.1:4000 -nconn 400 -timeout 2s");
        assert_eq!(options.address, "20.0.0.1:4000");
        assert_eq!((options.nconn, options.maxconcurrent), (400, 64));
        assert_eq!(options.deadline(), Duration::from_secs(2));
    }

    #[test]
    fn a_timeout_of_zero_stands_for_the_default() {
        assert_eq!(options("-timeout 0").deadline(), Duration::from_secs(8));
        assert_eq!(options("-keep").deadline(), Duration::from_secs(3600));
        assert_eq!(options("-keep -timeout 1m").deadline(), Duration::from_secs(60));
    }

    #[test]
    fn every_flag_has_its_place() {
        let options = options(
            "-server -udp -keep -srccidr 200:100::/64 -seed 7 -maxconcurrent 3 -output json -k8sprobe [::]:8080",
        );
        assert!(options.server && options.udp && options.keep);
        assert_eq!(options.srccidr, "200:100::/64".parse().ok());
        assert_eq!((options.seed, options.maxconcurrent, options.output), (7, 3, Output::Json));
        assert_eq!(options.k8sprobe.as_deref(), Some("[::]:8080"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, words) in [
            ("-nconns 3", "unknown flag -nconns"),
            ("-nconn many", "-nconn many: invalid digit found in string"),
            ("-timeout 2", "-timeout 2: no duration; write it as 300ms, 2s or 1m30s"),
            ("-output xml", "-output xml: neither txt nor json"),
            ("-maxconcurrent 0", "-maxconcurrent 0: at least one connection has to be made at a time"),
            ("-nconn 3 20.0.0.1", "`20.0.0.1` is no flag"),
        ] {
            assert_eq!(parse_line(line), Err(words.to_owned()));
        }
    }

    #[test]
    fn no_flag_at_all_asks_for_help() {
        assert_eq!(parse_line(""), Ok(Command::Help));
        assert_eq!(parse_line("--version"), Ok(Command::Version));
    }
}
