//! Who holds which VIP, across all our Gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::gateway::Gateway;
use l34_crds::names;

use super::Member;
use super::limits::Limits;
use super::record::{in_objects, in_status, of_older_controller};
use super::wanted::{Claims, Refused, RefusedReason, SPEC_ADDRESSES, Wanted, field_of, wanted};
use crate::meta::{age, label};
use crate::snapshot::{NamespacedName, ObjectRef, Objects};

/// The VIPs that a Gateway holds.
#[derive(Clone, Debug, Default)]
pub struct Granted<'a> {
    /// Every Service of the Gateway, by name.
    pub members: Vec<Member<'a>>,
    /// The VIPs, with the Services that claim each.
    pub claims: Claims<'a>,
    /// What was asked for and not given.
    pub refused: Vec<Refused>,
}

/// Decides who holds each VIP: of the Gateways that ask for it, and may have it by `limits`, the one
/// that holds it by record, then the older one, then the first by namespace and name.
///
/// By record means in `Gateway.status.addresses`, or in an AddressGrant of one of its Services.
pub fn decide<'a>(objects: &'a Objects, limits: &Limits) -> BTreeMap<NamespacedName, Granted<'a>> {
    let mut services = members_by_gateway(objects);
    let mut candidates: Vec<Candidate<'_>> = super::ours(objects)
        .map(|(namespace, name, gateway)| {
            let members = services.remove(&(namespace, name)).unwrap_or_default();
            let Wanted { members, claims, refused } = wanted(gateway, members);
            let mut candidate =
                Candidate { namespace, name, gateway, granted: Granted { members, claims, refused } };
            candidate.keep_within(limits);
            candidate
        })
        .collect();
    candidates.sort_by(|a, b| age(&a.gateway.metadata).cmp(&age(&b.gateway.metadata)));

    let contended = contended(&candidates);
    if !contended.is_empty() {
        let records: Vec<_> = candidates.iter().map(|candidate| Held::of(objects, candidate)).collect();
        for address in contended {
            settle(&mut candidates, &records, address);
        }
    }
    candidates.into_iter().map(|c| (NamespacedName::new(c.namespace, c.name), c.granted)).collect()
}

/// The Services of all Gateways in one pass.
fn members_by_gateway(objects: &Objects) -> BTreeMap<(&str, &str), Vec<Member<'_>>> {
    let mut members: BTreeMap<(&str, &str), Vec<Member<'_>>> = BTreeMap::new();
    for (namespace, name, service) in objects.services.iter() {
        if let Some(gateway) = label(&service.metadata, names::SERVICE_PROXY_NAME) {
            let of_gateway = members.entry((namespace, gateway)).or_default();
            of_gateway.push(Member { name, service, index: of_gateway.len() });
        }
    }
    members
}

/// What stands on record for a Gateway.
struct Held {
    /// In its status and in AddressGrants, which the controller alone writes.
    surely: BTreeSet<IpAddr>,
    /// In annotations, which anybody may have written: it decides where nobody holds an address surely.
    perhaps: BTreeSet<IpAddr>,
}

impl Held {
    fn of(objects: &Objects, candidate: &Candidate<'_>) -> Self {
        let &Candidate { namespace, name, gateway, .. } = candidate;
        let granted = in_objects(objects, namespace, name).map(|(_, address)| address);
        Self {
            surely: in_status(gateway).chain(granted).collect(),
            perhaps: of_older_controller(objects, namespace, name, gateway).collect(),
        }
    }
}

struct Candidate<'a> {
    namespace: &'a str,
    name: &'a str,
    gateway: &'a Gateway,
    granted: Granted<'a>,
}

impl Candidate<'_> {
    /// Takes away what the Gateway may not have, whoever asks for it.
    fn keep_within(&mut self, limits: &Limits) {
        let asked = self.granted.claims.keys().copied();
        let allowed = limits.ranges(self.gateway);
        let outside: Vec<IpAddr> = asked.filter(|address| !allowed.contain(*address)).collect();
        if outside.is_empty() {
            return;
        }
        let words = format!(
            "is outside the ranges that the controller's configuration (allowedAddresses) has for Gateways of \
             class {} in namespace {}",
            self.gateway.spec.gateway_class_name, self.namespace
        );
        for address in outside {
            self.refuse(address, &words);
        }
    }

    /// Takes an address away from all who ask for it, and notes why.
    fn refuse(&mut self, address: IpAddr, words: &str) {
        let Granted { claims, refused, .. } = &mut self.granted;
        let mut refuse = |object, field| {
            refused.push(Refused {
                object,
                field,
                address: address.to_string(),
                reason: RefusedReason::AddressNotUsable,
                words: words.to_owned(),
            });
        };
        for member in claims.remove(&address).unwrap_or_default() {
            let field = field_of(member.service, address).unwrap_or_default();
            refuse(ObjectRef::new(Kind::Service, self.namespace, member.name), field);
        }
        let mut in_spec =
            self.gateway.spec.addresses.iter().flatten().filter_map(|a| a.value.as_ref()?.parse().ok());
        if in_spec.any(|a: IpAddr| a == address) {
            refuse(ObjectRef::new(Kind::Gateway, self.namespace, self.name), SPEC_ADDRESSES);
        }
    }
}

/// The addresses that more than one candidate asks for.
fn contended(candidates: &[Candidate<'_>]) -> BTreeSet<IpAddr> {
    let mut seen = BTreeSet::new();
    let mut contended = BTreeSet::new();
    if candidates.len() > 1 {
        for address in candidates.iter().flat_map(|c| c.granted.claims.keys()) {
            if !seen.insert(*address) {
                contended.insert(*address);
            }
        }
    }
    contended
}

/// Leaves `address` with one of the candidates. They come in order of age, with what stands on record
/// for each.
fn settle(candidates: &mut [Candidate<'_>], records: &[Held], address: IpAddr) {
    let asking: Vec<usize> =
        (0..candidates.len()).filter(|&i| candidates[i].granted.claims.contains_key(&address)).collect();
    let holds = |held: fn(&Held) -> &BTreeSet<IpAddr>| {
        asking.iter().find(move |&&i| held(&records[i]).contains(&address))
    };
    let holder = holds(|record| &record.surely).or_else(|| holds(|record| &record.perhaps));
    let Some(&winner) = holder.or(asking.first()) else { return };

    let words = format!("is held by Gateway {}/{}", candidates[winner].namespace, candidates[winner].name);
    for loser in asking.into_iter().filter(|&i| i != winner) {
        candidates[loser].refuse(address, &words);
    }
}
