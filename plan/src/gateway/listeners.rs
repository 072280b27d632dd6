//! Status of listeners. They name ports for Gateway API; which ports a VIP has is the Services' word.

use l34_crds::conditions::ConditionDraft;
use l34_crds::gateway::{Gateway, GatewayListeners};
use serde::Serialize;

/// What the status says of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerPlan {
    /// Its name.
    pub name: String,
    /// `Accepted`, `Conflicted`, `ResolvedRefs` and `Programmed`.
    pub conditions: Vec<ConditionDraft>,
}

impl ListenerPlan {
    /// Whether every condition is as one wants it.
    pub(super) fn is_valid(&self) -> bool {
        let good = |c: &ConditionDraft| match c.type_ {
            "Programmed" => true, // which depends on the Gateway too
            "Conflicted" => !c.status,
            _ => c.status,
        };
        self.conditions.iter().all(good)
    }
}

/// The listeners of the spec, in its order. `programmed` says whether the Gateway is.
pub(super) fn listeners(gateway: &Gateway, programmed: bool) -> Vec<ListenerPlan> {
    let mut plans: Vec<ListenerPlan> = Vec::new();
    for listener in &gateway.spec.listeners {
        // One entry for each name, or the API server refuses the list.
        if plans.iter().all(|plan| plan.name != listener.name) {
            plans.push(plan(gateway, listener, programmed));
        }
    }
    plans
}

fn plan(gateway: &Gateway, listener: &GatewayListeners, programmed: bool) -> ListenerPlan {
    let condition = |type_, status, reason, message: &str| ConditionDraft {
        type_,
        status,
        reason,
        message: message.to_owned(),
    };
    let known = matches!(listener.protocol.as_str(), "TCP" | "UDP");
    let twin = twin(gateway, listener);

    let accepted = if !known {
        let words = format!("protocol {} is not known; TCP and UDP are", listener.protocol);
        condition("Accepted", false, "UnsupportedProtocol", &words)
    } else if let Some(twin) = twin {
        let words = format!("listener {twin} has {} port {}", listener.protocol, listener.port);
        condition("Accepted", false, "PortUnavailable", &words)
    } else {
        condition("Accepted", true, "Accepted", "")
    };
    let conflicted = match twin {
        Some(twin) => {
            let words = format!("listener {twin} has the same port and protocol");
            condition("Conflicted", true, "HostnameConflict", &words)
        }
        None => condition("Conflicted", false, "NoConflicts", ""),
    };
    let kinds = listener.allowed_routes.iter().flat_map(|routes| routes.kinds.iter().flatten());
    let resolved = match kinds.into_iter().next() {
        Some(kind) => {
            let words = format!("allowedRoutes.kinds names {}; no kind of route is known here", kind.kind);
            condition("ResolvedRefs", false, "InvalidRouteKinds", &words)
        }
        None => condition("ResolvedRefs", true, "ResolvedRefs", ""),
    };
    let programmed = if !accepted.status {
        condition("Programmed", false, "Invalid", "the listener is not accepted")
    } else if !programmed {
        condition("Programmed", false, "Pending", "the Gateway is not programmed")
    } else {
        condition("Programmed", true, "Programmed", "")
    };
    ListenerPlan { name: listener.name.clone(), conditions: vec![accepted, conflicted, resolved, programmed] }
}

/// Another listener with the same port and protocol.
fn twin<'a>(gateway: &'a Gateway, listener: &GatewayListeners) -> Option<&'a str> {
    let mut same = gateway.spec.listeners.iter().filter(|other| {
        other.name != listener.name && other.port == listener.port && other.protocol == listener.protocol
    });
    same.next().map(|other| other.name.as_str())
}
