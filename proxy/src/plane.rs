//! What the router sees of a data plane.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::service::Snapshot;

/// A data plane: takes the whole of what is wanted and says what is in place.
///
/// A VIP is to be announced once [`Status::vips`] has it, and withdrawn before a snapshot without it is applied.
pub trait DataPlane: Send + Sync {
    /// Hands over the whole of what is wanted and returns at once. A newer snapshot replaces one that still waits.
    /// The result counts up from 1 and is found again in [`Status::generation`].
    fn apply(&self, wanted: Arc<Snapshot>) -> u64;

    /// What is in place now.
    fn status(&self) -> Arc<Status>;
}

/// What is in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest snapshot that is in place as a whole; 0 before the first.
    pub generation: u64,
    /// VIPs that are in place, each as soon as it is, whether or not the rest of its snapshot is.
    pub vips: Arc<BTreeMap<IpAddr, VipStatus>>,
    /// Why the newest snapshot is not in place, in words; it is tried again.
    pub problem: Option<String>,
    /// How often the table was found changed by someone else and repaired.
    pub repairs: u64,
    /// Stale connection tracking entries deleted.
    pub stale_flows_deleted: u64,
}

/// A VIP in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipStatus {
    /// Its services (protocol and port) that have an endpoint. With 0 all but pings are rejected.
    pub services: usize,
}

/// No data plane of ours: someone else carries the traffic, and every VIP counts as in place at once.
#[derive(Debug, Default)]
pub struct Implicit(Mutex<Arc<Status>>);

impl DataPlane for Implicit {
    fn apply(&self, wanted: Arc<Snapshot>) -> u64 {
        let vips = wanted.vips.iter().map(|vip| (*vip, VipStatus::of_wanted(&wanted, *vip))).collect();
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = status.generation + 1;
        *status = Arc::new(Status { generation, vips: Arc::new(vips), ..Status::default() });
        generation
    }

    fn status(&self) -> Arc<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl VipStatus {
    fn of_wanted(wanted: &Snapshot, vip: IpAddr) -> Self {
        let services = wanted.services_of(vip);
        VipStatus { services: services.filter(|(key, entry)| !entry.endpoints_for(key).is_empty()).count() }
    }
}
