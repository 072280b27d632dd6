//! Which VIPs are announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use l34_crds::Kind;

use super::intent::{Decision, VipIntent, Withheld};
use super::{Dataplane, Me, View};
use crate::gateway::{Refused, Standing, decide, recorded, wanted};
use crate::problem::Problem;
use crate::services::{ServiceEntry, announces_always, is_local};
use crate::snapshot::{NamespacedName, ObjectRef, Objects};

/// The addresses of a Gateway, before it is asked what stands behind them.
#[derive(Default)]
pub(super) struct Holdings<'a> {
    /// The VIPs that the Gateway holds, with the names of the Services that claim them.
    pub(super) granted: BTreeMap<IpAddr, Vec<&'a str>>,
    /// The addresses that are not announced, whatever stands behind them.
    apart: BTreeMap<IpAddr, (Vec<&'a str>, Withheld)>,
    refused: Vec<Refused>,
}

/// What the Gateway holds: as this router decides, or as the controller wrote it.
pub(super) fn holdings<'a>(objects: &'a Objects, me: &Me, standing: &Standing) -> Holdings<'a> {
    let (namespace, name) = (me.namespace.as_str(), me.gateway.as_str());
    let Some(gateway) = objects.gateways.get(namespace, name) else { return Holdings::default() };

    if me.view == View::Own && *standing == Standing::Ours {
        let mine = decide(objects).remove(&NamespacedName::new(namespace, name)).unwrap_or_default();
        return Holdings { granted: mine.claims, refused: mine.refused, ..Holdings::default() };
    }
    let wanted = wanted(objects, namespace, name, gateway);
    if me.view == View::Own {
        return Holdings { granted: wanted.claims, refused: wanted.refused, ..Holdings::default() };
    }
    let mut claims = wanted.claims;
    let granted = recorded(objects, namespace, name, gateway)
        .into_iter()
        .map(|address| (address, claims.remove(&address).unwrap_or_default()))
        .collect();
    let not_granted = || Withheld::NotGranted("is not granted by the controller".to_owned());
    let apart = claims.into_iter().map(|(address, services)| (address, (services, not_granted()))).collect();
    Holdings { granted, apart, refused: wanted.refused }
}

impl Holdings<'_> {
    /// Sets the VIPs apart that are also the address of a router or of ourselves.
    pub(super) fn set_apart_conflicts(
        &mut self,
        me: &Me,
        neighbours: &BTreeSet<IpAddr>,
        problems: &mut Vec<Problem>,
    ) {
        let conflicts = [
            (neighbours, "is the address of a GatewayRouter"),
            (&me.local_addresses, "is an address of the gateway itself"),
        ];
        for (addresses, words) in conflicts {
            for address in addresses {
                let Some(services) = self.granted.remove(address) else { continue };
                let object = match services.first() {
                    Some(service) => ObjectRef::new(Kind::Service, &me.namespace, service),
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
        let served: BTreeSet<IpAddr> = ground
            .entries
            .iter()
            .filter(|entry| !entry.endpoints.is_empty())
            .map(|entry| entry.vip)
            .collect();
        let owned = |services: Vec<&str>| services.into_iter().map(str::to_owned).collect();

        let mut vips: BTreeMap<IpAddr, VipIntent> = BTreeMap::new();
        for (address, services) in self.granted {
            let decision = ground.decision(&services, served.contains(&address));
            vips.insert(address, VipIntent { services: owned(services), decision });
        }
        for (address, (services, why)) in self.apart {
            vips.insert(address, VipIntent { services: owned(services), decision: Decision::Withhold(why) });
        }
        for refused in self.refused {
            let Ok(address) = refused.address.parse() else { continue };
            let vip = vips.entry(address).or_insert_with(|| VipIntent {
                services: Vec::new(),
                decision: Decision::Withhold(Withheld::NotGranted(refused.words)),
            });
            if refused.object.kind == Kind::Service && !vip.services.contains(&refused.object.name) {
                vip.services.push(refused.object.name);
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
    pub(super) objects: &'a Objects,
    pub(super) me: &'a Me,
    pub(super) standing: &'a Standing,
    pub(super) entries: &'a [ServiceEntry],
    /// Services behind which something was seen, now or before.
    pub(super) seen: &'a BTreeSet<&'a str>,
}

impl Ground<'_> {
    /// Whether to announce a VIP that these Services claim. `served`: the data plane has an endpoint for it.
    fn decision(&self, services: &[&str], served: bool) -> Decision {
        let no_dataplane = self.me.dataplane == Dataplane::None;
        let objects = || services.iter().filter_map(|s| self.objects.services.get(&self.me.namespace, s));
        let was_seen = |service: &&str| self.seen.contains(*service);

        if *self.standing != Standing::Ours {
            Decision::Withhold(Withheld::Gateway(self.standing.clone()))
        } else if served || objects().any(|service| announces_always(service)) {
            Decision::Announce
        } else if no_dataplane && (services.is_empty() || !services.iter().all(was_seen)) {
            // What answers on it is not ours to know, and nothing says that it is gone.
            Decision::Announce
        } else if services.is_empty() {
            Decision::Withhold(Withheld::NoService)
        } else if services.iter().any(was_seen) {
            let local = objects().any(|service| is_local(service));
            Decision::Withhold(Withheld::NoEndpoint { local })
        } else {
            Decision::Withhold(Withheld::NothingSeen)
        }
    }
}
