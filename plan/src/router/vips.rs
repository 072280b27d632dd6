//! Which VIPs are announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use l34_crds::Kind;

use super::intent::{Decision, VipIntent, Withheld};
use super::{Dataplane, Me, View};
use crate::gateway::{
    Claims, GrantSource, Granted, Limits, Member, Refused, Standing, Wanted, decide, in_annotations,
    in_objects, in_status, members, wanted,
};
use crate::problem::Problem;
use crate::services::{ServiceEntry, UnreachableServices, announces_always, is_local};
use crate::snapshot::{NamespacedName, ObjectRef, Objects};

/// The addresses of a Gateway, before it is asked what stands behind them.
#[derive(Default)]
pub(super) struct Holdings<'a> {
    /// Every Service of the Gateway, by name.
    pub(super) members: Vec<Member<'a>>,
    /// The VIPs that the Gateway holds, with the Services that claim them.
    pub(super) granted: Claims<'a>,
    /// The addresses that are not announced, whatever stands behind them.
    apart: BTreeMap<IpAddr, (Vec<Member<'a>>, Withheld)>,
    refused: Vec<Refused>,
}

/// What the Gateway holds: as this router decides, or as the controller wrote it.
pub(super) fn holdings<'a>(objects: &'a Objects, me: &Me, standing: &Standing) -> Holdings<'a> {
    let (namespace, name) = (me.namespace.as_str(), me.gateway.as_str());
    let Some(gateway) = objects.gateways.get(namespace, name) else { return Holdings::default() };

    let record = match &me.view {
        View::Own if *standing == Standing::Ours => {
            let Granted { members, claims, refused } = decide(objects, &Limits::default())
                .remove(&NamespacedName::new(namespace, name))
                .unwrap_or_default();
            return Holdings { members, granted: claims, refused, apart: BTreeMap::new() };
        }
        View::Own => None,
        View::Recorded(record) => Some(record),
    };
    let Wanted { members, mut claims, refused } = wanted(gateway, members(objects, namespace, name));
    let Some(record) = record else {
        return Holdings { members, granted: claims, refused, apart: BTreeMap::new() };
    };
    let granted: BTreeSet<IpAddr> = match record.grants {
        GrantSource::Annotations => in_annotations(objects, namespace, name)
            .map(|(_, address)| address)
            .chain(in_status(gateway))
            .collect(),
        GrantSource::Objects => {
            let is_claimed = |(service, address): &(&str, IpAddr)| {
                let services = claims.get(address).map(Vec::as_slice).unwrap_or_default();
                services.iter().any(|member| **member.name == **service)
            };
            let of_objects =
                in_objects(objects, namespace, name).filter(is_claimed).map(|(_, address)| address);
            of_objects.chain(in_status(gateway)).collect()
        }
    };
    let (allowed, outside): (Vec<_>, Vec<_>) =
        granted.into_iter().partition(|address| record.allowed.contain(*address));
    let mut apart = BTreeMap::new();
    for address in outside {
        let words = "is granted, and outside the ranges that the controller allows this Gateway".to_owned();
        apart.insert(address, (claims.remove(&address).unwrap_or_default(), Withheld::NotGranted(words)));
    }
    let granted = allowed.into_iter().map(|a| (a, claims.remove(&a).unwrap_or_default())).collect();
    let not_granted = || Withheld::NotGranted("is not granted by the controller".to_owned());
    apart.extend(claims.into_iter().map(|(address, services)| (address, (services, not_granted()))));
    Holdings { members, granted, apart, refused }
}

impl Holdings<'_> {
    /// Sets the VIPs apart that are also the address of a router or of ourselves.
    pub(super) fn set_apart_conflicts(
        &mut self,
        me: &Me,
        neighbours: &BTreeSet<IpAddr>,
        problems: &mut Vec<Problem>,
    ) {
        let own = me.interfaces.values().flat_map(|interface| interface.addresses.iter().copied()).collect();
        let conflicts = [
            (neighbours, "is the address of a GatewayRouter"),
            (&own, "is an address of the gateway itself"),
        ];
        for (addresses, words) in conflicts {
            for address in addresses {
                let Some(services) = self.granted.remove(address) else { continue };
                let object = match services.first() {
                    Some(service) => ObjectRef::new(Kind::Service, &me.namespace, service.name),
                    None => ObjectRef::new(Kind::Gateway, &me.namespace, &me.gateway),
                };
                let problem = format!("VIP {address} {words}, and is not announced");
                problems.push(Problem::error(object, "", problem));
                self.apart.insert(*address, (services, Withheld::Conflict(words)));
            }
        }
    }

    /// Decides for every address.
    pub(super) fn decide(self, ground: &Ground<'_>) -> BTreeMap<IpAddr, VipIntent> {
        let names = |services: &[Member<'_>]| services.iter().map(|member| Arc::clone(member.name)).collect();
        let mut entries = ground.entries.iter().filter(|entry| !entry.endpoints.is_empty()).peekable();
        // The entries are sorted by VIP, as these are, so one pass joins them.
        let granted = self.granted.into_iter().map(|(address, services)| {
            while entries.next_if(|entry| entry.vip < address).is_some() {}
            let served = entries.peek().is_some_and(|entry| entry.vip == address);
            let decision = ground.decision(&services, served, address.is_ipv6());
            (address, VipIntent { services: names(&services), decision })
        });
        let mut vips: BTreeMap<IpAddr, VipIntent> = granted.collect();
        for (address, (services, why)) in self.apart {
            vips.insert(address, VipIntent { services: names(&services), decision: Decision::Withhold(why) });
        }
        for refused in self.refused {
            let Ok(address) = refused.address.parse() else { continue };
            let vip = vips.entry(address).or_insert_with(|| VipIntent {
                services: Vec::new(),
                decision: Decision::Withhold(Withheld::NotGranted(refused.words)),
            });
            if refused.object.kind == Kind::Service
                && !vip.services.iter().any(|name| **name == *refused.object.name)
            {
                vip.services.push(refused.object.name.into());
            }
        }
        vips
    }

    /// What was asked for and not given, as problems of the objects that ask.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Problem> {
        self.refused.iter().map(|refused| {
            let address = if refused.address.is_empty() { "an entry" } else { &refused.address };
            Problem::error(refused.object.clone(), refused.field, format!("{address} {}", refused.words))
        })
    }
}

/// What a decision looks at.
pub(super) struct Ground<'a> {
    pub(super) me: &'a Me,
    pub(super) standing: &'a Standing,
    pub(super) entries: &'a [ServiceEntry],
    /// For each Service of the Gateway: whether something was seen behind it, now or before.
    pub(super) seen: &'a [bool],
    pub(super) unreachable: &'a UnreachableServices,
}

impl Ground<'_> {
    /// Whether to announce a VIP of a family that these Services claim. `served`: the data plane has an endpoint for it.
    fn decision(&self, services: &[Member<'_>], served: bool, ipv6: bool) -> Decision {
        let unreachable = || services.iter().find_map(|member| self.unreachable.get(&(member.index, ipv6)));
        let no_dataplane = self.me.dataplane == Dataplane::None;
        let was_seen = |member: &Member<'_>| self.seen.get(member.index).copied().unwrap_or(false);

        if *self.standing != Standing::Ours {
            Decision::Withhold(Withheld::Gateway(self.standing.clone()))
        } else if served || services.iter().any(|member| announces_always(member.service)) {
            Decision::Announce
        } else if no_dataplane && (services.is_empty() || !services.iter().all(was_seen)) {
            // What answers on it is not ours to know, and nothing says that it is gone.
            Decision::Announce
        } else if services.is_empty() {
            Decision::Withhold(Withheld::NoService)
        } else if let Some(why) = unreachable() {
            Decision::Withhold(Withheld::Unreachable(why.clone()))
        } else if services.iter().any(was_seen) {
            let local = services.iter().any(|member| is_local(member.service));
            Decision::Withhold(Withheld::NoEndpoint { local })
        } else {
            Decision::Withhold(Withheld::NothingSeen)
        }
    }
}
