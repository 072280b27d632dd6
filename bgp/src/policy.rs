//! Import and export policy as data: rules in order, the first verdict wins.

mod prefix_set;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attrs::{AttrBuf, Attrs, NextHop};
use crate::net::Family;
pub use prefix_set::{PrefixRange, PrefixSet};

/// Where the speaker has a route from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Originated by this speaker.
    Local,
    /// Learned from a peer of another AS.
    Ebgp,
    /// Learned from a peer of the same AS.
    Ibgp,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Taken, with the attributes as the actions left them.
    Accept,
    /// Not taken.
    Reject,
}

/// A policy: rules in order; where none gives a verdict, `otherwise` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The rules, in the order in which they are tried.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// The verdict when no rule gave one.
    pub otherwise: Verdict,
}

/// One rule: when all conditions hold, the actions are done; a verdict ends the walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// All must hold; none means always.
    pub when: Vec<Condition>,
    /// Done in order.
    pub then: Vec<Action>,
    /// Ends the walk; without one the next rule is tried.
    pub verdict: Option<Verdict>,
}

/// Something that is true or false of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// The prefix is in the set.
    Prefix(PrefixSet),
    /// The prefix is of the family.
    Family(Family),
    /// The route comes from there.
    Source(Source),
    /// The route carries the community (RFC 1997).
    Community(u32),
    /// The route carries the extended community (RFC 4360), as its eight octets.
    ExtendedCommunity(u64),
    /// The route carries the large community (RFC 8092).
    LargeCommunity(u32, u32, u32),
    /// The AS stands somewhere in the AS_PATH.
    PathContains(u32),
    /// The AS_PATH begins with the AS.
    NeighborAs(u32),
    /// The AS_PATH is at least that long.
    PathLongerThan(u16),
    /// The next hop is the address.
    NextHop(IpAddr),
    /// The condition does not hold.
    Not(Box<Condition>),
}

/// A change to a route's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Sets LOCAL_PREF. It leaves the speaker only towards iBGP peers.
    SetLocalPref(u32),
    /// Sets or removes MULTI_EXIT_DISC.
    SetMed(Option<u32>),
    /// Adds a community, once.
    AddCommunity(u32),
    /// Removes a community.
    RemoveCommunity(u32),
    /// Removes all communities.
    ClearCommunities,
    /// Adds a large community, once.
    AddLargeCommunity(u32, u32, u32),
    /// Removes a large community.
    RemoveLargeCommunity(u32, u32, u32),
    /// Puts an AS in front of the AS_PATH so many times.
    Prepend(u32, u8),
    /// Sets the next hop.
    SetNextHop(IpAddr),
}

impl Policy {
    /// Takes everything.
    pub fn accept_all() -> Policy {
        Policy { rules: Vec::new(), otherwise: Verdict::Accept }
    }

    /// Takes nothing.
    pub fn reject_all() -> Policy {
        Policy { rules: Vec::new(), otherwise: Verdict::Reject }
    }

    /// Takes what this speaker originates: the default for export, since a gateway is no transit.
    pub fn originated_only() -> Policy {
        let own = Rule {
            when: vec![Condition::Source(Source::Local)],
            then: Vec::new(),
            verdict: Some(Verdict::Accept),
        };
        Policy { rules: vec![own], otherwise: Verdict::Reject }
    }

    /// Whether the verdict or the actions can depend on the prefix, so that one evaluation per attribute set is not
    /// enough.
    pub fn looks_at_prefix(&self) -> bool {
        self.rules.iter().flat_map(|rule| &rule.when).any(Condition::looks_at_prefix)
    }

    /// Walks the rules for one route and changes its attributes as they say. After a rejection the attributes are
    /// whatever the walk left.
    pub fn apply(&self, prefix: IpNet, source: Source, attrs: &mut AttrBuf) -> Verdict {
        for rule in &self.rules {
            if rule.when.iter().all(|condition| condition.holds(prefix, source, attrs)) {
                rule.then.iter().for_each(|action| action.apply(attrs));
                if let Some(verdict) = rule.verdict {
                    return verdict;
                }
            }
        }
        self.otherwise
    }
}

impl Condition {
    fn looks_at_prefix(&self) -> bool {
        match self {
            Condition::Prefix(_) => true,
            Condition::Not(inner) => inner.looks_at_prefix(),
            _ => false,
        }
    }

    fn holds<B: AsRef<[u8]>>(&self, prefix: IpNet, source: Source, attrs: &Attrs<B>) -> bool {
        match self {
            Condition::Prefix(set) => set.contains(prefix),
            Condition::Family(family) => Family::of(&prefix) == *family,
            Condition::Source(wanted) => source == *wanted,
            Condition::Community(wanted) => attrs.communities().any(|c| c == *wanted),
            Condition::ExtendedCommunity(wanted) => attrs.extended_communities().any(|c| c == *wanted),
            Condition::LargeCommunity(a, b, c) => attrs.large_communities().any(|l| l == (*a, *b, *c)),
            Condition::PathContains(asn) => attrs.as_path().count(*asn) > 0,
            Condition::NeighborAs(asn) => attrs.neighbor_as() == Some(*asn),
            Condition::PathLongerThan(len) => attrs.path_len() > *len,
            Condition::NextHop(addr) => attrs.next_hop().global() == *addr,
            Condition::Not(inner) => !inner.holds(prefix, source, attrs),
        }
    }
}

impl Action {
    fn apply(&self, attrs: &mut AttrBuf) {
        match self {
            Action::SetLocalPref(value) => attrs.set_local_pref(Some(*value)),
            Action::SetMed(value) => attrs.set_med(*value),
            Action::AddCommunity(value) => attrs.add_community(*value),
            Action::RemoveCommunity(value) => {
                let kept: Vec<u32> = attrs.communities().filter(|c| c != value).collect();
                attrs.set_communities(kept);
            }
            Action::ClearCommunities => attrs.set_communities([]),
            Action::AddLargeCommunity(a, b, c) => {
                let mut all: Vec<_> = attrs.large_communities().collect();
                if !all.contains(&(*a, *b, *c)) {
                    all.push((*a, *b, *c));
                    attrs.set_large_communities(all);
                }
            }
            Action::RemoveLargeCommunity(a, b, c) => {
                let kept: Vec<_> = attrs.large_communities().filter(|l| *l != (*a, *b, *c)).collect();
                attrs.set_large_communities(kept);
            }
            Action::Prepend(asn, times) => attrs.prepend(*asn, *times),
            Action::SetNextHop(addr) => attrs.set_next_hop(NextHop::from(*addr)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> (IpNet, AttrBuf) {
        let prefix = "10.1.0.0/16".parse().unwrap();
        (prefix, AttrBuf::local(NextHop::from("192.0.2.1".parse::<IpAddr>().unwrap())))
    }

    #[test]
    fn the_first_verdict_wins_and_earlier_actions_stay() {
        let rules = vec![
            Rule { then: vec![Action::SetMed(Some(7)), Action::AddCommunity(1)], ..Rule::default() },
            Rule {
                when: vec![Condition::Community(1)],
                then: vec![Action::RemoveCommunity(1)],
                verdict: Some(Verdict::Accept),
            },
            Rule { then: vec![Action::SetMed(Some(8))], ..Rule::default() },
        ];
        let policy = Policy { rules, otherwise: Verdict::Reject };
        let (prefix, mut attrs) = route();
        assert_eq!(policy.apply(prefix, Source::Ebgp, &mut attrs), Verdict::Accept);
        assert_eq!((attrs.med(), attrs.communities().count()), (Some(7), 0));
    }

    #[test]
    fn the_default_export_policy_takes_own_routes_and_nothing_learned() {
        let (prefix, mut attrs) = route();
        let policy = Policy::originated_only();
        assert_eq!(policy.apply(prefix, Source::Local, &mut attrs), Verdict::Accept);
        assert_eq!(policy.apply(prefix, Source::Ebgp, &mut attrs), Verdict::Reject);
        assert_eq!(policy.apply(prefix, Source::Ibgp, &mut attrs), Verdict::Reject);
    }

    #[test]
    fn only_prefix_conditions_make_a_policy_depend_on_the_prefix() {
        let in_set = Condition::Prefix(PrefixSet::default());
        let with = |condition| Policy {
            rules: vec![Rule { when: vec![condition], ..Rule::default() }],
            otherwise: Verdict::Accept,
        };
        assert!(with(Condition::Not(Box::new(in_set))).looks_at_prefix());
        assert!(!with(Condition::Family(Family::Ipv4Unicast)).looks_at_prefix());
    }
}
