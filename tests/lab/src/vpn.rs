//! The bird configuration of the vpn containers: the file that ships, with a scenario's changes.

/// `deploy/vpn-gateway/bird.conf` with options. The defaults are the file as it is.
#[derive(Clone, Debug)]
pub struct Vpn {
    text: String,
}

impl Vpn {
    /// The configuration as it ships, logging with microseconds.
    pub fn new() -> Self {
        let text = format!("{PREAMBLE}{}", include_str!("../../../deploy/vpn-gateway/bird.conf"));
        Vpn { text }
    }

    /// The whole configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Graceful restart in both roles, as an operator would switch it on.
    #[track_caller]
    pub fn graceful_restart(self) -> Self {
        self.replace("graceful restart off;", "graceful restart on;")
    }

    /// Hold time in seconds.
    #[track_caller]
    pub fn hold_time(self, seconds: u32) -> Self {
        self.replace("hold time 3;", &format!("hold time {seconds};"))
    }

    /// BFD intervals in milliseconds and the multiplier, as bird's own.
    #[track_caller]
    pub fn bfd(self, interval: u32, multiplier: u32) -> Self {
        let options = format!("bfd {{ passive on; interval {interval} ms; multiplier {multiplier}; }};");
        self.replace("bfd { passive on; };", &options)
    }

    /// BFD that sends without being asked.
    #[track_caller]
    pub fn active_bfd(self) -> Self {
        self.replace("bfd { passive on; };", "bfd on;")
    }

    /// No BFD at all.
    #[track_caller]
    pub fn no_bfd(self) -> Self {
        self.replace("bfd { passive on; };", "bfd off;")
    }

    /// bird's default back-off of a minute after an error.
    #[track_caller]
    pub fn default_error_wait(self) -> Self {
        self.replace("error wait time 1, 2;", "")
    }

    /// One more option for both sessions, as `password "secret";`.
    #[track_caller]
    pub fn session(self, option: &str) -> Self {
        self.replace("template bgp GATEWAY {\n", &format!("template bgp GATEWAY {{\n\t{option}\n"))
    }

    /// One more option for the IPv4 sessions alone.
    #[track_caller]
    pub fn session4(self, option: &str) -> Self {
        self.replace("gateway4 from GATEWAY {\n", &format!("gateway4 from GATEWAY {{\n\t{option}\n"))
    }

    /// What bird logs of its protocols, as `events, routes`, beside their states.
    #[track_caller]
    pub fn debug(self, what: &str) -> Self {
        self.replace("states, events }", &format!("states, {what} }}"))
    }

    /// Announces another prefix in the place of one of the default routes, `0.0.0.0/0` or `::/0`.
    #[track_caller]
    pub fn route(self, default: &str, prefix: &str) -> Self {
        self.replace(&format!("route {default} blackhole;"), &format!("route {prefix} blackhole;"))
    }

    /// The AS expected from the gateways.
    #[track_caller]
    pub fn gateway_as(self, asn: u32) -> Self {
        self.replace("as 8103;", &format!("as {asn};"))
    }

    /// bird's own AS.
    #[track_caller]
    pub fn local_as(self, asn: u32) -> Self {
        self.replace("as 4248829953;", &format!("as {asn};"))
    }

    /// Appends protocols.
    pub fn with(mut self, protocols: &str) -> Self {
        self.text.push_str(protocols);
        self
    }

    #[track_caller]
    fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "deploy/vpn-gateway/bird.conf has no `{from}`");
        self.text = self.text.replace(from, to);
        self
    }
}

impl Default for Vpn {
    fn default() -> Self {
        Self::new()
    }
}

/// Times as seconds since the epoch with microseconds: one word, comparable.
const PREAMBLE: &str = "timeformat base \"%s.%6f\";
timeformat protocol \"%s.%6f\";
timeformat route \"%s.%6f\";
timeformat log \"%T.%6f\";
debug protocols { states, events };
";
