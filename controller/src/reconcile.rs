//! What is to be written, given all that is observed. Pure: neither client nor clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use l34_crds::core::{EndpointSlice, ObjectMeta, Time};
use l34_crds::gateway::{Gateway, GatewayClass, GatewayClassSpec};
use l34_crds::names;
use l34_plan::covers::covers;
use l34_plan::daemonset;
use l34_plan::endpoints::{Planner, Request};
use l34_plan::gateway::{self, EventDraft, GrantSource, Infrastructure, Record, StatusPlan};
use l34_plan::gateway_class;
use l34_plan::rollup::rollup;
use l34_plan::snapshot::{NamespacedName, Objects};
use l34_source::cluster::View;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;
use crate::evidence::Evidence;
use crate::platform::Platform;
use crate::watches::{is_listed, is_served, knows_pods};
use crate::write::{Action, Key, Target, fields};

/// What follows from a view.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// All that differs from what is observed.
    pub(crate) writes: BTreeMap<Key, Action>,
    /// What is wrong and cannot be told in a status.
    pub(crate) events: BTreeSet<EventDraft>,
    /// Namespaces with a Gateway of ours: their Pods are of interest.
    pub(crate) namespaces: BTreeSet<String>,
    /// Gateways without a ready gateway pod: it is of interest why.
    pub(crate) unready: BTreeSet<NamespacedName>,
}

/// Plans, and remembers what need not be planned again.
#[derive(Debug)]
pub(crate) struct Reconciler {
    config: Config,
    planner: Planner,
}

impl Reconciler {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, planner: Planner::default() }
    }

    /// What is to be done. `now` goes into conditions that change.
    pub(crate) fn plan(
        &mut self,
        view: &View,
        evidence: &Evidence,
        platform: &Platform,
        now: &Time,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        // Which Gateways are ours, and who of them holds a VIP, is known when all are known.
        if ["gateways", "services", "endpointslices", "addressgrants"]
            .iter()
            .any(|plural| !is_listed(view, plural))
        {
            return outcome;
        }
        // Without the right to read classes the literal one still works, and those that we have served.
        let knows_classes = is_listed(view, "gatewayclasses");
        if !knows_classes && !view.trouble.contains_key("gatewayclasses") {
            return outcome;
        }
        classes(view, platform, now, &mut outcome);
        let observed = view;
        let vouched = if knows_classes {
            finalizers(view, &mut outcome);
            vouched_by_pods(view)
        } else {
            Some(vouched(view))
        };
        let view = vouched.as_ref().unwrap_or(view);
        let granted = gateway::decide(&view.objects, &self.config.limits);
        let mut granted_to = BTreeMap::new();
        for (at, granted) in &granted {
            let Some(gateway) = view.objects.gateways.get(&at.namespace, &at.name) else { continue };
            outcome.namespaces.insert(at.namespace.clone());
            outcome.events.extend(gateway::refusals(granted));

            let found = evidence.of(at);
            let mut infrastructure =
                Infrastructure::of(gateway, &view.objects, &view.made, found.events, found.missing);
            if let Some((key, said)) = found.refused {
                infrastructure.is_refused(&format!("{:?} {}", key.target, key.name), said);
            }
            if let Some(words) = platform.without_networks() {
                infrastructure.is_without_networks(gateway, words);
            }
            let status = gateway::status(gateway, granted, &infrastructure);
            let is_ready = status.conditions.iter().any(|c| c.type_ == "Programmed" && c.status);
            if !is_ready {
                outcome.unready.insert(at.clone());
            }
            // Before the look it would say less than what an earlier leader knew, and say that again a moment later.
            if platform.is_known()
                && (is_ready || found.is_known)
                && let Some(applied) = status.applied(gateway, now)
            {
                outcome.status(Target::GatewayStatus, &gateway.metadata, &applied);
            }
            let grants = address_grants(view, at, &status, &mut outcome);
            self.gateway_pods(view, at, gateway, grants, &mut outcome);
            granted_to.insert(at.clone(), status);
        }
        let stale = self.endpoint_slices(view, &granted_to, &mut outcome);
        if knows_classes {
            outcome.writes.extend(stale);
            stale_grants(view, &granted_to, &mut outcome);
            foreign(observed, &view.objects, &mut outcome);
        }
        if is_listed(view, "gatewayrouters") && is_listed(view, "routerstates") {
            routers(view, now, &mut outcome);
        }
        outcome
    }

    /// The DaemonSet of a Gateway, with its account and its rights.
    fn gateway_pods(
        &self,
        view: &View,
        at: &NamespacedName,
        gateway: &Gateway,
        grants: Grants,
        outcome: &mut Outcome,
    ) {
        if ["daemonsets", "serviceaccounts", "rolebindings"].iter().any(|p| !is_listed(view, p)) {
            return;
        }
        let name = daemonset::name(&at.name);
        let made = &view.made;
        let present = made.daemon_sets.get(&at.namespace, &name);
        let reads_grants = present.is_some_and(|set| daemonset::reads_grants(set));
        let source = match grants {
            // Routers that read annotations go on with them until what they are to read instead is there.
            Grants::Unwritten if present.is_some() && !reads_grants => return,
            // Routers that read AddressGrants never read annotations again: those can be forged.
            Grants::Absent if !reads_grants => GrantSource::Annotations,
            Grants::Absent | Grants::Unwritten | Grants::Written => GrantSource::Objects,
        };
        let record = Record { grants: source, allowed: self.config.limits.ranges(gateway) };
        // A Gateway that is not accepted says so in its status, and keeps what it has.
        let Ok(wanted) = daemonset::objects(gateway, &self.config.template, &record) else { return };
        // Somebody else's, or of an earlier Gateway of this name, which the garbage collector removes.
        if present.is_some_and(|set| !daemonset::is_ours(&set.metadata, gateway)) {
            return;
        }
        let account = made.service_accounts.get(&at.namespace, &name);
        outcome.object(
            Target::ServiceAccount,
            &wanted.service_account.metadata,
            &wanted.service_account,
            account,
        );
        let binding = made.role_bindings.get(&at.namespace, &name);
        outcome.object(Target::RoleBinding, &wanted.role_binding.metadata, &wanted.role_binding, binding);
        outcome.object(Target::DaemonSet, &wanted.daemon_set.metadata, &wanted.daemon_set, present);
    }

    /// Returns the deletions of what nothing needs any more.
    fn endpoint_slices(
        &mut self,
        view: &View,
        statuses: &BTreeMap<NamespacedName, StatusPlan>,
        outcome: &mut Outcome,
    ) -> Vec<(Key, Action)> {
        // Without the Pods of a namespace its Services would seem to have no endpoints.
        let namespaces = outcome.namespaces.clone();
        let unknown = |namespace: &str| namespaces.contains(namespace) && !knows_pods(view, namespace);
        let requests: Vec<Request<'_>> = statuses
            .iter()
            .filter(|(at, _)| !unknown(&at.namespace))
            .filter_map(|(at, status)| {
                let gateway = view.objects.gateways.get(&at.namespace, &at.name)?;
                Some(Request { gateway, granted_to: &status.granted_to })
            })
            .collect();
        let plan = self.planner.plan(&view.objects, &requests);
        let stale: Vec<NamespacedName> =
            plan.stale.into_iter().filter(|at| !unknown(&at.namespace)).collect();
        outcome.events.extend(plan.problems.iter().map(EventDraft::from));

        let mut unfinished = BTreeSet::new();
        for (at, services) in &plan.services {
            for slice in services.iter().flat_map(|service| &service.slices) {
                let name = slice.metadata.name.as_deref().unwrap_or_default();
                let present = view.objects.endpoint_slices.get(&at.namespace, name);
                if !present.is_some_and(|present| Arc::ptr_eq(present, slice)) {
                    let key = Key::new(Target::EndpointSlice, &at.namespace, name);
                    outcome.writes.insert(key, Action::ApplySlice(slice.clone()));
                    unfinished.insert(at.namespace.clone());
                }
            }
        }
        // What moves from one slice to another stands in both for a moment, never in neither.
        let removed = |at: NamespacedName| {
            let present: Option<&Arc<EndpointSlice>> =
                view.objects.endpoint_slices.get(&at.namespace, &at.name);
            let uid = present.and_then(|slice| slice.metadata.uid.clone());
            (Key::new(Target::EndpointSlice, &at.namespace, &at.name), Action::Delete(uid))
        };
        stale.into_iter().filter(|at| !unfinished.contains(&at.namespace)).map(removed).collect()
    }
}

/// How the AddressGrants of a Gateway are.
#[derive(Clone, Copy)]
enum Grants {
    /// The API server does not have the kind.
    Absent,
    /// Some are still to be written.
    Unwritten,
    /// All are there.
    Written,
}

/// The AddressGrants of a Gateway's Services.
fn address_grants(view: &View, at: &NamespacedName, status: &StatusPlan, outcome: &mut Outcome) -> Grants {
    if !is_served(view, "addressgrants") {
        return Grants::Absent;
    }
    let mut problems = Vec::new();
    let differing = gateway::address_grants(&view.objects, at, &status.granted_to, &mut problems);
    outcome.events.extend(problems.iter().map(EventDraft::from));
    let grants = if differing.is_empty() { Grants::Written } else { Grants::Unwritten };
    for grant in differing {
        let key = Key::of(Target::AddressGrant, &grant.metadata);
        outcome.writes.insert(key, Action::ApplyGrant(Arc::new(grant)));
    }
    grants
}

/// The AddressGrants that nothing needs any more.
fn stale_grants(view: &View, statuses: &BTreeMap<NamespacedName, StatusPlan>, outcome: &mut Outcome) {
    let granted: BTreeSet<(&str, &str)> = statuses
        .iter()
        .flat_map(|(at, status)| {
            status.granted_to.keys().map(|service| (at.namespace.as_str(), service.as_str()))
        })
        .collect();
    let is_granted = |namespace: &str, service: &str| granted.contains(&(namespace, service));
    for (at, grant) in gateway::stale_address_grants(&view.objects, is_granted) {
        let key = Key::new(Target::AddressGrant, &at.namespace, &at.name);
        outcome.writes.insert(key, Action::Delete(grant.metadata.uid.clone()));
    }
}

/// GatewayClasses of ours are accepted.
fn classes(view: &View, platform: &Platform, now: &Time, outcome: &mut Outcome) {
    if !platform.is_known() {
        return;
    }
    let unsupported = platform.unsupported();
    for (_, name, class) in
        view.objects.gateway_classes.iter().filter(|(.., class)| gateway_class::is_ours(class))
    {
        for (target, status) in [
            (Target::GatewayClassStatus, gateway_class::status(class, unsupported.as_deref(), now)),
            (Target::GatewayClassFeatures, gateway_class::features(class)),
        ] {
            if let Some(status) = status {
                let applied = Action::Apply(json!({"metadata": {}, "status": status}));
                outcome.writes.insert(Key::new(target, "", name), applied);
            }
        }
    }
}

/// The same where classes cannot be read: one is ours if what stands in the status of a Gateway shows that we have
/// accepted it with this class. It keeps its VIPs, and its endpoints are kept up.
fn vouched(view: &View) -> View {
    let mut vouched = view.clone();
    for (.., gateway) in view.objects.gateways.iter().filter(|(.., gateway)| gateway::is_served(gateway)) {
        let name = gateway.spec.gateway_class_name.clone();
        let mut class = GatewayClass::new(&name, GatewayClassSpec::default());
        class.spec.controller_name = names::CONTROLLER_NAME.to_owned();
        vouched.objects.gateway_classes.insert(String::new(), name, Arc::new(class));
    }
    vouched
}

/// The same where classes are known and one is missing: whoever deleted or renamed it did not ask for an outage. A Gateway
/// that has gateway pods of this class keeps all it has; another Gateway of such a class is nobody's, as ever. `None` when
/// no such class is missing.
fn vouched_by_pods(view: &View) -> Option<View> {
    let classes = &view.objects.gateway_classes;
    let is_missing = |name: &str| name != names::CONTROLLER_NAME && classes.get("", name).is_none();
    let knows_daemon_sets = is_listed(view, "daemonsets");
    let is_vouched = |namespace: &str, name: &str, gateway: &Gateway| {
        let pods = view.made.daemon_sets.get(namespace, &daemonset::name(name));
        // Without the right to read them, and before they are listed, what stands in its status has to do.
        (!knows_daemon_sets && gateway::cleared(gateway).is_some())
            || pods.is_some_and(|pods| {
                daemonset::is_ours(&pods.metadata, gateway) && daemonset::has_class_of(pods, gateway)
            })
    };
    let mut vouched: Option<View> = None;
    let mut others = Vec::new();
    for (namespace, name, gateway) in view.objects.gateways.iter() {
        let class = &gateway.spec.gateway_class_name;
        if !is_missing(class) {
            continue;
        }
        if !is_vouched(namespace, name, gateway) {
            others.push((namespace, name));
            continue;
        }
        let mut stand_in = GatewayClass::new(class, GatewayClassSpec::default());
        stand_in.spec.controller_name = names::CONTROLLER_NAME.to_owned();
        let vouched = vouched.get_or_insert_with(|| view.clone());
        vouched.objects.gateway_classes.insert(String::new(), class.clone(), Arc::new(stand_in));
    }
    if let Some(vouched) = &mut vouched {
        for (namespace, name) in others {
            vouched.objects.gateways.remove(namespace, name);
        }
    }
    vouched
}

/// A GatewayClass of ours that Gateways name cannot be deleted before them.
fn finalizers(view: &View, outcome: &mut Outcome) {
    let named: BTreeSet<&str> =
        view.objects.gateways.iter().map(|(.., gateway)| gateway.spec.gateway_class_name.as_str()).collect();
    for (_, name, class) in
        view.objects.gateway_classes.iter().filter(|(.., class)| gateway_class::is_ours(class))
    {
        if let Some(finalizers) = gateway_class::finalizers(class, named.contains(&**name)) {
            let action = Action::Finalizers(class.metadata.resource_version.clone(), finalizers);
            outcome.writes.insert(Key::new(Target::GatewayClassFinalizers, "", name), action);
        }
    }
}

/// What stands in the status of Gateways that are of another class now, and what was made for Gateways that are of
/// another class or gone. (Of those that are gone the garbage collector removes it too.) `objects` say which are ours.
fn foreign(view: &View, objects: &Objects, outcome: &mut Outcome) {
    let is_of_others = |namespace: &str, name: &str| {
        matches!(
            gateway::standing(objects, namespace, name),
            gateway::Standing::OtherClass(_) | gateway::Standing::Absent
        )
    };
    for (namespace, name, gateway) in view.objects.gateways.iter() {
        if is_of_others(namespace, name)
            && let Some(status) = gateway::cleared(gateway)
        {
            outcome.status(Target::GatewayStatus, &gateway.metadata, &status);
        }
    }
    let mut remove = |target, namespace: &str, name: &Arc<str>, metadata: &ObjectMeta| {
        let label = |key| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        let ours = label(names::APP_MANAGED_BY) == Some(names::CONTROLLER);
        let of_others = label(names::GATEWAY_LABEL).is_some_and(|gateway| is_of_others(namespace, gateway));
        if ours && of_others && metadata.deletion_timestamp.is_none() {
            outcome.writes.insert(Key::new(target, namespace, name), Action::Delete(metadata.uid.clone()));
        }
    };
    for (namespace, name, object) in view.made.daemon_sets.iter() {
        remove(Target::DaemonSet, namespace, name, &object.metadata);
    }
    for (namespace, name, object) in view.made.service_accounts.iter() {
        remove(Target::ServiceAccount, namespace, name, &object.metadata);
    }
    for (namespace, name, object) in view.made.role_bindings.iter() {
        remove(Target::RoleBinding, namespace, name, &object.metadata);
    }
}

/// What gateway pods report, in the status of each GatewayRouter.
fn routers(view: &View, now: &Time, outcome: &mut Outcome) {
    for (namespace, name, router) in view.objects.gateway_routers.iter() {
        if outcome.namespaces.contains(namespace) && !knows_pods(view, namespace) {
            continue;
        }
        let rollup = rollup(&view.objects, &view.made, namespace, name, router);
        if let Some(status) = rollup.applied(router, now) {
            outcome.status(Target::GatewayRouterStatus, &router.metadata, &status);
        }
    }
}

impl Outcome {
    fn status(&mut self, target: Target, metadata: &ObjectMeta, status: &impl Serialize) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let applied = Action::Apply(json!({"metadata": {"namespace": namespace}, "status": status}));
        self.writes.insert(Key::new(target, namespace, name), applied);
    }

    /// Applies the object, unless what is observed says all of it.
    fn object<T: Serialize>(
        &mut self,
        target: Target,
        metadata: &ObjectMeta,
        wanted: &T,
        present: Option<&Arc<T>>,
    ) {
        let wanted = fields(wanted);
        let is_there = |present: &Arc<T>| {
            serde_json::to_value(present.as_ref()).is_ok_and(|present: Value| covers(&present, &wanted))
        };
        if !present.is_some_and(is_there) {
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            self.writes.insert(Key::new(target, namespace, name), Action::Apply(wanted));
        }
    }
}

/// The observed `resourceVersion` of what a key stands for.
pub(crate) fn version_of<'a>(view: &'a View, key: &Key) -> Option<&'a str> {
    let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
    let (objects, made) = (&view.objects, &view.made);
    let metadata = match key.target {
        Target::GatewayClassFinalizers | Target::GatewayClassStatus | Target::GatewayClassFeatures => {
            &objects.gateway_classes.get(namespace, name)?.metadata
        }
        Target::GatewayStatus => &objects.gateways.get(namespace, name)?.metadata,
        Target::GatewayRouterStatus => &objects.gateway_routers.get(namespace, name)?.metadata,
        Target::AddressGrant => &objects.address_grants.get(namespace, name)?.metadata,
        Target::EndpointSlice => &objects.endpoint_slices.get(namespace, name)?.metadata,
        Target::DaemonSet => &made.daemon_sets.get(namespace, name)?.metadata,
        Target::ServiceAccount => &made.service_accounts.get(namespace, name)?.metadata,
        Target::RoleBinding => &made.role_bindings.get(namespace, name)?.metadata,
        Target::RouterState => &made.router_states.get(namespace, name)?.metadata,
    };
    metadata.resource_version.as_deref()
}

#[cfg(test)]
mod tests;
