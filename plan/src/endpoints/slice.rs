//! One EndpointSlice of ours: its name, the whole object, and how one that exists is told to be ours.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use l34_crds::core::{Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Service};
use l34_crds::names;

use crate::meta::{label, owner_of_service};

/// The address families, in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// As `addressType` spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// All that makes one slice, beside its name.
pub(super) struct Content {
    pub(super) family: Family,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What the slices of one Service have in common.
pub(super) struct Common<'a> {
    pub(super) gateway: &'a str,
    pub(super) service_name: &'a str,
    pub(super) service: &'a Service,
    /// The VIPs of the Service, sorted.
    pub(super) granted: &'a [IpAddr],
}

impl Common<'_> {
    /// The whole object as it is to be.
    pub(super) fn slice(&self, name: &str, content: Content) -> EndpointSlice {
        let labels = [
            (names::SERVICE_NAME, self.service_name),
            (names::SERVICE_PROXY_NAME, self.gateway),
            (names::MANAGED_BY, names::CONTROLLER),
        ];
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        EndpointSlice {
            address_type: content.family.name().to_owned(),
            endpoints: Some(content.endpoints).filter(|list| !list.is_empty()),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.service.metadata.namespace.clone(),
                labels: Some(owned(&labels)),
                annotations: Some(owned(&[(names::GRANTED_ADDRESSES, &self.granted_text())])),
                owner_references: owner_of_service(self.service_name, self.service).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ports: Some(content.ports).filter(|list| !list.is_empty()),
        }
    }

    /// Written even when empty, so that it is ours: an older router takes what somebody else writes there.
    fn granted_text(&self) -> String {
        let mut text = String::new();
        for address in self.granted {
            let comma = if text.is_empty() { "" } else { "," };
            _ = write!(text, "{comma}{address}");
        }
        text
    }
}

/// Whether nothing of ours has to be changed in a slice for it to be as it should. Labels and annotations
/// of others may stand beside ours.
pub(super) fn is_as_wanted(slice: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let has_all = |has: &Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>| {
        let has = |key: &String| has.as_ref().and_then(|map| map.get(key));
        wanted.iter().flatten().all(|(key, value)| has(key) == Some(value))
    };
    let (meta, wanted_meta) = (&slice.metadata, &wanted.metadata);
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    slice.address_type == wanted.address_type
        && slice.endpoints.as_deref().unwrap_or_default() == wanted.endpoints.as_deref().unwrap_or_default()
        && slice.ports.as_deref().unwrap_or_default() == wanted.ports.as_deref().unwrap_or_default()
        && has_all(&meta.labels, &wanted_meta.labels)
        && has_all(&meta.annotations, &wanted_meta.annotations)
        && wanted_meta.owner_references.iter().flatten().all(|owner| owners.contains(owner))
}

/// Whether we manage the slice, by its label.
pub(super) fn is_managed(slice: &EndpointSlice) -> bool {
    label(&slice.metadata, names::MANAGED_BY) == Some(names::CONTROLLER)
}

/// The Service that a slice of ours belongs to: as its labels say or, where somebody changed those and its
/// name is still one that we give, its owner. `uid_of` knows the Services by name.
pub(super) fn service_of<'a>(
    slice: &'a EndpointSlice,
    uid_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<&'a str> {
    let by_label = label(&slice.metadata, names::SERVICE_NAME).filter(|_| is_managed(slice));
    let mut owners = slice.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == "Service");
    let by_owner = owner.map(|owner| owner.name.as_str()).filter(|name| {
        let slice_name = slice.metadata.name.as_deref().unwrap_or_default();
        by_label != Some(name)
            && uid_of(name) == owner.map(|owner| owner.uid.as_str())
            && Family::ALL.iter().any(|family| slice_name.starts_with(&stem(name, *family)))
    });
    by_owner.or(by_label)
}

/// What the names of a Service's slices begin with; a number follows. From it the Service's name can be
/// read back, so no two Services have the same one. A name that leaves no room for the number is cut and
/// told apart by a hash, and the mark before the family keeps it from the name of a Service as it stands.
pub(super) fn stem(service: &str, family: Family) -> String {
    let family = family.name().to_lowercase();
    if service.len() <= MAX_WHOLE {
        return format!("{service}-l34-{family}-");
    }
    let mut end = MAX_WHOLE - HASH_DIGITS - 1;
    while !service.is_char_boundary(end) {
        end -= 1;
    }
    let cut = service.get(..end).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{cut}-{:032x}-l34cut-{family}-", fnv(service.as_bytes()))
}

/// FNV-1a of 128 bits: the same on every machine and in every version.
fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// Of 253, what `-l34cut-ipv4-` and a number of five digits leave.
const MAX_WHOLE: usize = 253 - "-l34cut-ipv4-".len() - 5;
const HASH_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_fit_and_no_two_services_share_one() {
        let long = "a".repeat(253);
        let mut services: Vec<String> = (230..=253).map(|length| long[..length].to_owned()).collect();
        services.extend(["a", "a-l34-ipv4-0", "a-l34-ipv4", "a-l34cut"].map(str::to_owned));
        services.push(format!("{}b", &long[..252]));
        // Services that are named like the cut names of others.
        let cut: Vec<String> = services.iter().map(|s| stem(s, Family::Ipv4)).collect();
        services.extend(cut.iter().map(|stem| stem.trim_end_matches("-l34cut-ipv4-").to_owned()));
        services.extend(cut.iter().map(|stem| stem.trim_end_matches('-').to_owned()));
        let services: BTreeSet<String> = services.into_iter().collect();

        let named = |service: &String| Family::ALL.map(|family| format!("{}99999", stem(service, family)));
        let all: Vec<String> = services.iter().flat_map(named).collect();
        assert!(all.iter().all(|name| name.len() <= 253));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(stem("service-a", Family::Ipv6), "service-a-l34-ipv6-");
    }
}
