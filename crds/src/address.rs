//! The rule for an address. `isIP()` and `ip()` came with Kubernetes 1.31; patterns are all that 1.30 has.

/// One group of an IPv6 address.
macro_rules! group {
    () => {
        "[0-9a-fA-F]{1,4}"
    };
}

/// An IPv4 address: four octets without leading zeros.
macro_rules! ipv4 {
    () => {
        "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

/// `$before` groups, then `::` and at most `$after` groups, the last two of which may be an IPv4 address; `$more` is
/// `$after - 2`.
macro_rules! compressed {
    ($before:literal, $after:literal, $more:literal) => {
        concat!(
            "(",
            group!(),
            ":){",
            $before,
            "}((:",
            group!(),
            "){1,",
            $after,
            "}|(:",
            group!(),
            "){0,",
            $more,
            "}:",
            ipv4!(),
            "|:)"
        )
    };
}

/// A CEL rule: a unicast address of either family.
///
/// Well-formed, by the first two patterns. The others leave out what `ip(self)` would not count as unicast (0.0.0.0,
/// `::`, 255.255.255.255, multicast), and IPv4 addresses in the form of IPv6 ones (`::ffff:192.0.2.1`), as `isIP()` does.
#[rustfmt::skip]
pub(crate) const UNICAST: &str = concat!(
    "(self.matches('^", ipv4!(), "$') || self.matches('^(",
    "(", group!(), ":){7}(", group!(), "|:)",
    "|(", group!(), ":){6}(:", group!(), "|", ipv4!(), "|:)",
    "|(", group!(), ":){5}((:", group!(), "){1,2}|:", ipv4!(), "|:)",
    "|", compressed!("4", "3", "1"),
    "|", compressed!("3", "4", "2"),
    "|", compressed!("2", "5", "3"),
    "|", compressed!("1", "6", "4"),
    "|:((:", group!(), "){1,7}|(:", group!(), "){0,5}:", ipv4!(), "|:)",
    ")$'))",
    " && !self.matches('^([0:.]+|255[.]255[.]255[.]255|2(2[4-9]|3[0-9])[.].*|[fF]{2}[0-9a-fA-F]{2}:.*)$')",
    " && !self.matches('^([0:]+:[fF]{4}:([0-9.]+|", group!(), ":", group!(), ")|(0{1,4}:){5}[fF]{4}:.*)$')",
);
