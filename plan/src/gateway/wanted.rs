//! The VIPs that a Gateway asks for: of its Services and of its own spec.

use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::core::Service;
use l34_crds::gateway::Gateway;
use l34_crds::names;
use serde::Serialize;

use crate::addresses::not_a_vip;
use crate::meta::annotation;
use crate::snapshot::{ObjectRef, Objects};

/// What one Gateway asks for, before other Gateways are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Each address with the names of the Services that claim it, by name. An address of
    /// `Gateway.spec.addresses` may stand here without any.
    pub claims: BTreeMap<IpAddr, Vec<&'a str>>,
    /// What cannot be a VIP at all.
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

/// The addresses that the Gateway and its Services ask for.
pub fn wanted<'a>(objects: &'a Objects, namespace: &str, name: &str, gateway: &Gateway) -> Wanted<'a> {
    let mut wanted = Wanted::default();
    for (service_name, service) in super::services(objects, namespace, name) {
        for (field, text) in of_service(service) {
            match vip(text) {
                Ok(address) => {
                    let claims = wanted.claims.entry(address).or_default();
                    // Services come by name, so a repeated one is the last.
                    if claims.last() != Some(&service_name) {
                        claims.push(service_name);
                    }
                }
                Err(words) => wanted.refused.push(Refused {
                    object: ObjectRef::new(Kind::Service, namespace, service_name),
                    field,
                    address: text.to_owned(),
                    reason: RefusedReason::AddressNotUsable,
                    words: words.to_owned(),
                }),
            }
        }
    }
    for entry in gateway.spec.addresses.iter().flatten() {
        match of_spec(entry.r#type.as_deref(), entry.value.as_deref()) {
            Ok(address) => _ = wanted.claims.entry(address).or_default(),
            Err((reason, words)) => wanted.refused.push(Refused {
                object: ObjectRef::new(Kind::Gateway, namespace, name),
                field: SPEC_ADDRESSES,
                address: entry.value.clone().unwrap_or_default(),
                reason,
                words,
            }),
        }
    }
    wanted
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
