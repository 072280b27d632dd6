//! The VIPs that a Gateway asks for: of its Services and of its own spec.

use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::core::Service;
use l34_crds::gateway::Gateway;
use l34_crds::names;
use serde::Serialize;

use super::Member;
use crate::addresses::not_a_vip;
use crate::meta::annotation;
use crate::snapshot::ObjectRef;

/// Addresses with the Services that claim each, by name. An address of `Gateway.spec.addresses` may
/// stand here without any.
pub type Claims<'a> = BTreeMap<IpAddr, Vec<Member<'a>>>;

/// What one Gateway asks for, before other Gateways are looked at.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Every Service of the Gateway, by name.
    pub members: Vec<Member<'a>>,
    /// What can be a VIP.
    pub claims: Claims<'a>,
    /// What cannot.
    pub refused: Vec<Refused>,
}

/// An address that was asked for and not given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The object that asks for it.
    pub object: ObjectRef,
    /// The field, or `metadata.annotations[...]`.
    pub field: &'static str,
    /// The address as written; empty when none is.
    pub address: String,
    /// Why not, for a program: a condition reason of Gateway API.
    pub reason: RefusedReason,
    /// Why not, in words that follow the address: `is a multicast address`.
    pub words: String,
}

/// Reasons of [`Refused`], which are Gateway API's condition reasons of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RefusedReason {
    /// The entry has no value, and we pick none.
    AddressNotAssigned,
    /// The entry's type is not `IPAddress`.
    UnsupportedAddress,
    /// It is no address, or one that cannot be a VIP, or another Gateway holds it.
    AddressNotUsable,
}

impl RefusedReason {
    /// The reason as a condition spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddressNotAssigned => "AddressNotAssigned",
            Self::UnsupportedAddress => "UnsupportedAddress",
            Self::AddressNotUsable => "AddressNotUsable",
        }
    }
}

/// The addresses that the Gateway and its Services, all of them, ask for.
pub fn wanted<'a>(gateway: &Gateway, members: Vec<Member<'a>>) -> Wanted<'a> {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let mut refused = Vec::new();
    let mut claimed: Vec<(IpAddr, Member<'a>)> = Vec::with_capacity(members.len());
    for member in &members {
        for (field, text) in of_service(member.service) {
            match vip(text) {
                Ok(address) => claimed.push((address, *member)),
                Err(words) => refused.push(Refused {
                    object: ObjectRef::new(Kind::Service, namespace, member.name),
                    field,
                    address: text.to_owned(),
                    reason: RefusedReason::AddressNotUsable,
                    words: words.to_owned(),
                }),
            }
        }
    }
    let mut claims = group(claimed);
    for entry in gateway.spec.addresses.iter().flatten() {
        match of_spec(entry.r#type.as_deref(), entry.value.as_deref()) {
            Ok(address) => _ = claims.entry(address).or_default(),
            Err((reason, words)) => refused.push(Refused {
                object: super::reference(gateway),
                field: SPEC_ADDRESSES,
                address: entry.value.clone().unwrap_or_default(),
                reason,
                words,
            }),
        }
    }
    Wanted { members, claims, refused }
}

/// Sorted first, because a map of many addresses is built fastest in order.
fn group(mut claimed: Vec<(IpAddr, Member<'_>)>) -> Claims<'_> {
    let key = |(address, member): &(IpAddr, Member<'_>)| (*address, member.index);
    claimed.sort_unstable_by_key(key);
    claimed.dedup_by_key(|claim| key(claim));
    claimed
        .chunk_by(|(a, _), (b, _)| a == b)
        .map(|same| (same[0].0, same.iter().map(|(_, member)| *member).collect()))
        .collect()
}

/// The addresses that a Service asks for, as written, with the field that each stands in.
fn of_service(service: &Service) -> impl Iterator<Item = (&'static str, &str)> {
    let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let annotated = annotation(&service.metadata, names::ADDRESSES).unwrap_or_default();
    external
        .map(|text| ("spec.externalIPs", text.as_str()))
        .chain(list(annotated).map(|text| (ADDRESSES_FIELD, text)))
}

/// The field in which a Service asks for `address`.
pub(super) fn field_of(service: &Service, address: IpAddr) -> Option<&'static str> {
    of_service(service).find(|(_, text)| text.parse() == Ok(address)).map(|(field, _)| field)
}

fn of_spec(kind: Option<&str>, value: Option<&str>) -> Result<IpAddr, (RefusedReason, String)> {
    match kind {
        None | Some("IPAddress") => {}
        Some(other) => {
            return Err((
                RefusedReason::UnsupportedAddress,
                format!("is of type {other}; only IPAddress is known"),
            ));
        }
    }
    match value {
        None | Some("") => {
            Err((RefusedReason::AddressNotAssigned, "has no value, and none is picked".to_owned()))
        }
        Some(text) => vip(text).map_err(|words| (RefusedReason::AddressNotUsable, words.to_owned())),
    }
}

/// Reads an address that can be a VIP.
fn vip(text: &str) -> Result<IpAddr, &'static str> {
    let address = text.parse().map_err(|_| "is not an IP address")?;
    not_a_vip(address).map_or(Ok(address), Err)
}

/// The items of a list that is separated by commas; blanks around them do not count.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(super) const SPEC_ADDRESSES: &str = "spec.addresses";
const ADDRESSES_FIELD: &str = "metadata.annotations[l34.gateway.api.poc/addresses]";
