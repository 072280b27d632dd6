//! EndpointSlices made of Pods: the addresses that the Pods behind a Gateway's Services have on the
//! networks that the Gateway names.
//!
//! Names, owner and labels say whose a slice is; the slices that exist say where each endpoint stands, so
//! that nothing moves without need. An `addressType` cannot be changed: a slice that has the wrong one is
//! left to be deleted, and another name is taken.

mod packing;
mod planner;
mod pod;
mod pods;
mod prune;
mod service;
mod slice;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use l34_crds::core::EndpointSlice;
use l34_crds::gateway::Gateway;

pub use planner::Planner;
pub use prune::prune;

use crate::problem::Problem;
use crate::snapshot::{NamespacedName, Objects, Table};

/// A Gateway whose Services are to have EndpointSlices.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The Gateway.
    pub gateway: &'a Gateway,
    /// The VIPs of each of its Services: [`StatusPlan::granted_to`](crate::gateway::StatusPlan::granted_to).
    pub granted_to: &'a BTreeMap<String, Vec<IpAddr>>,
}

/// The EndpointSlices of some Gateways, whole.
///
/// What is in `services` is to be written before what is `stale` is deleted: so an endpoint or a granted
/// VIP that moves from one slice to another is never in neither.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By Gateway, the Services by name.
    pub services: BTreeMap<NamespacedName, Vec<Arc<ServiceSlices>>>,
    /// EndpointSlices that carry our `managed-by` and that nothing needs, whatever their namespace.
    pub stale: Vec<NamespacedName>,
    /// What is wrong with which object, sorted, each once.
    pub problems: Vec<Problem>,
}

/// The EndpointSlices of one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSlices {
    /// Name of the Service.
    pub service: Arc<str>,
    /// How many Pods its selector matches that have not ended, with an address or without.
    pub pods: usize,
    /// The slices, each of one family and one set of ports, at most 1,000 endpoints long. One in which
    /// nothing has to be changed is the very object that exists (`Arc::ptr_eq`). A Service with VIPs and
    /// without endpoints has one that is empty, to carry the VIPs.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// The EndpointSlices of every Service of one Gateway as the Pods alone tell them: for a router that has
/// no controller. Problems are added to `problems`.
pub fn slices(objects: &Objects, gateway: &Gateway, problems: &mut Vec<Problem>) -> Vec<Arc<ServiceSlices>> {
    // Those that exist are a person's, and stay as they are.
    let objects = Objects { endpoint_slices: Table::default(), ..objects.clone() };
    let plan = Planner::default().plan(&objects, &[Request { gateway, granted_to: &BTreeMap::new() }]);
    problems.extend(plan.problems);
    plan.services.into_values().flatten().collect()
}
