//! One GatewayRouter's spec, read into what the router needs. The CRD's rules refuse the same
//! mistakes; a folder has no such rules, and an object may be older than they are.

use std::net::IpAddr;
use std::time::Duration;

use l34_crds::GoDuration;
use l34_crds::core::Secret;
use l34_crds::gateway_router::{
    AuthSpec, BfdSpec, BgpSpec, GatewayRouter, GatewayRouterSpec, PROTOCOL_BGP, PROTOCOL_STATIC,
};

use crate::addresses::not_unicast;
use crate::router::intent::{BfdIntent, Md5Key, PeerIntent, StaticIntent};
use crate::snapshot::{NamespacedName, Objects};

/// A router that can be used.
pub(super) enum Protocol {
    Bgp(PeerIntent),
    Static(StaticIntent),
}

/// What is wrong with which field.
pub(super) struct Unusable {
    pub(super) field: &'static str,
    pub(super) words: String,
}

impl Unusable {
    pub(super) fn new(field: &'static str, words: impl Into<String>) -> Self {
        Self { field, words: words.into() }
    }
}

/// Reads a router, and whatever about it should be said although it can be used.
pub(super) fn read(
    objects: &Objects,
    namespace: &str,
    name: &str,
    router: &GatewayRouter,
) -> (Result<Protocol, Unusable>, Vec<Unusable>) {
    let mut warnings = Vec::new();
    (protocol(objects, NamespacedName::new(namespace, name), &router.spec, &mut warnings), warnings)
}

fn protocol(
    objects: &Objects,
    router: NamespacedName,
    spec: &GatewayRouterSpec,
    warnings: &mut Vec<Unusable>,
) -> Result<Protocol, Unusable> {
    let address = address(&spec.address)?;
    let interface = interface(&spec.interface)?;
    if spec.bgp.is_some() && spec.static_.is_some() {
        return Err(Unusable::new("spec", "bgp and static exclude each other"));
    }
    match spec.protocol.as_deref() {
        None | Some("" | PROTOCOL_BGP) => {
            if spec.static_.is_some() {
                return Err(Unusable::new("spec.static", "needs spec.protocol Static"));
            }
            let bgp =
                spec.bgp.as_ref().ok_or_else(|| Unusable::new("spec.bgp", "is needed for protocol BGP"))?;
            peer(objects, router, address, interface, bgp, warnings).map(Protocol::Bgp)
        }
        Some(PROTOCOL_STATIC) => {
            if spec.bgp.is_some() {
                return Err(Unusable::new("spec.bgp", "does not go with protocol Static"));
            }
            let bfd = bfd(spec.static_.as_ref().and_then(|s| s.bfd.as_ref()), &STATIC_BFD)?;
            Ok(Protocol::Static(StaticIntent { router, address, interface, bfd }))
        }
        Some(other) => Err(Unusable::new("spec.protocol", format!("{other:?} is neither BGP nor Static"))),
    }
}

fn peer(
    objects: &Objects,
    router: NamespacedName,
    address: IpAddr,
    interface: String,
    bgp: &BgpSpec,
    warnings: &mut Vec<Unusable>,
) -> Result<PeerIntent, Unusable> {
    let md5 = match &bgp.auth {
        Some(auth) => Some(key(objects, &router.namespace, auth, warnings)?),
        None => None,
    };
    Ok(PeerIntent {
        router,
        address,
        interface,
        local_asn: asn("spec.bgp.localASN", bgp.local_asn)?,
        remote_asn: asn("spec.bgp.remoteASN", bgp.remote_asn)?,
        hold_time: hold_time(bgp.hold_time.as_ref())?,
        local_port: port("spec.bgp.localPort", bgp.local_port)?,
        remote_port: port("spec.bgp.remotePort", bgp.remote_port)?,
        bfd: bfd(bgp.bfd.as_ref(), &BGP_BFD)?,
        md5,
    })
}

fn address(text: &str) -> Result<IpAddr, Unusable> {
    let bad = |words: &str| Unusable::new("spec.address", format!("{text:?} {words}"));
    let address = text.parse().map_err(|_| bad("is not an IP address"))?;
    not_unicast(address).map_or(Ok(address), |words| Err(bad(words)))
}

/// The kernel's rules for interface names.
fn interface(text: &str) -> Result<String, Unusable> {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(forbidden) {
        return Err(Unusable::new("spec.interface", format!("{text:?} cannot be the name of an interface")));
    }
    Ok(text.to_owned())
}

fn asn(field: &'static str, number: Option<i64>) -> Result<u32, Unusable> {
    let number = number.ok_or_else(|| Unusable::new(field, "is needed for protocol BGP"))?;
    match u32::try_from(number) {
        Ok(asn @ 1..) => Ok(asn),
        _ => Err(Unusable::new(field, format!("{number} is not between 1 and 4294967295"))),
    }
}

fn port(field: &'static str, number: Option<i32>) -> Result<u16, Unusable> {
    let number = number.unwrap_or(BGP_PORT);
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(Unusable::new(field, format!("{number} is not between 1 and 65535"))),
    }
}

/// RFC 4271, 4.2: 0 or at least three seconds, in 16 bits.
fn hold_time(text: Option<&GoDuration>) -> Result<Duration, Unusable> {
    const FIELD: &str = "spec.bgp.holdTime";
    let Some(text) = text else { return Ok(HOLD_TIME) };
    let time = text.value().map_err(|e| Unusable::new(FIELD, e.to_string()))?;
    if time.subsec_nanos() != 0 || !matches!(time.as_secs(), 0 | 3..=65535) {
        return Err(Unusable::new(
            FIELD,
            format!("{} is neither 0 nor whole seconds from 3s to 65535s", text.0),
        ));
    }
    Ok(time)
}

/// Field names of one `bfd` section.
struct BfdFields {
    min_tx: &'static str,
    min_rx: &'static str,
    multiplier: &'static str,
}

fn bfd(spec: Option<&BfdSpec>, fields: &BfdFields) -> Result<Option<BfdIntent>, Unusable> {
    let Some(spec) = spec.filter(|spec| spec.switch == Some(true)) else { return Ok(None) };
    let multiplier = spec.multiplier.unwrap_or(BFD_MULTIPLIER);
    Ok(Some(BfdIntent {
        min_tx: interval(fields.min_tx, spec.min_tx.as_ref())?,
        min_rx: interval(fields.min_rx, spec.min_rx.as_ref())?,
        multiplier: match u8::try_from(multiplier) {
            Ok(multiplier @ 1..) => multiplier,
            _ => {
                let words = format!("{multiplier} is not between 1 and 255");
                return Err(Unusable::new(fields.multiplier, words));
            }
        },
        strict: spec.strict.unwrap_or(false),
    }))
}

/// On the wire it is 32 bits of microseconds (RFC 5880, 4.1).
fn interval(field: &'static str, text: Option<&GoDuration>) -> Result<Duration, Unusable> {
    let Some(text) = text else { return Ok(BFD_INTERVAL) };
    let interval = text.value().map_err(|e| Unusable::new(field, e.to_string()))?;
    let whole_milliseconds = interval.subsec_nanos() % 1_000_000 == 0;
    if !whole_milliseconds || interval.is_zero() || interval > Duration::from_secs(4294) {
        return Err(Unusable::new(field, format!("{} is not whole milliseconds from 1ms to 4294s", text.0)));
    }
    Ok(interval)
}

/// The MD5 key. Without it the peer stays down: a session is never opened without the password.
fn key(
    objects: &Objects,
    namespace: &str,
    auth: &AuthSpec,
    warnings: &mut Vec<Unusable>,
) -> Result<Md5Key, Unusable> {
    const KEY_NAME: &str = "spec.bgp.auth.keyName";
    const KEY_SOURCE: &str = "spec.bgp.auth.keySource";
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let source = given(&auth.key_source).ok_or_else(|| Unusable::new(KEY_SOURCE, "is needed"))?;
    let name = given(&auth.key_name).ok_or_else(|| Unusable::new(KEY_NAME, "is needed"))?;
    let secret = objects
        .secrets
        .get(namespace, &source)
        .ok_or_else(|| Unusable::new(KEY_SOURCE, format!("there is no Secret {namespace}/{source}")))?;
    let key = value(secret, &name)
        .ok_or_else(|| Unusable::new(KEY_NAME, format!("Secret {namespace}/{source} has no key {name:?}")))?;
    if !(1..=MD5_KEY_MAX).contains(&key.len()) {
        let words = format!("the key has {} bytes; TCP MD5 takes 1 to {MD5_KEY_MAX}", key.len());
        return Err(Unusable::new(KEY_NAME, words));
    }
    if key.ends_with(b"\n") {
        let words = "the key ends with a newline, which counts; is the peer's password meant without it?";
        warnings.push(Unusable::new(KEY_NAME, words));
    }
    Ok(Md5Key(key.to_vec()))
}

/// `stringData` stands in manifests only, and wins, as it does when the API server takes it in.
fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let plain = secret.string_data.as_ref().and_then(|data| data.get(key)).map(|text| text.as_bytes());
    plain.or_else(|| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice()))
}

const BGP_BFD: BfdFields = BfdFields {
    min_tx: "spec.bgp.bfd.minTx",
    min_rx: "spec.bgp.bfd.minRx",
    multiplier: "spec.bgp.bfd.multiplier",
};
const STATIC_BFD: BfdFields = BfdFields {
    min_tx: "spec.static.bfd.minTx",
    min_rx: "spec.static.bfd.minRx",
    multiplier: "spec.static.bfd.multiplier",
};

const BGP_PORT: i32 = 179;
const HOLD_TIME: Duration = Duration::from_secs(90);
const BFD_INTERVAL: Duration = Duration::from_millis(300);
const BFD_MULTIPLIER: i32 = 5;

/// The kernel's limit, `TCP_MD5SIG_MAXKEYLEN`.
const MD5_KEY_MAX: usize = 80;
