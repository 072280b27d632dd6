//! What the controller writes into a GatewayClass of ours: its status, and a finalizer.

use l34_crds::conditions::ConditionDraft;
use l34_crds::core::Time;
use l34_crds::gateway::{GatewayClass, GatewayClassStatus, GatewayClassStatusSupportedFeatures};
use l34_crds::names;

use crate::gateway::{drafted, has_all};

/// Whether the class names our controller. It cannot be changed later.
pub fn is_ours(class: &GatewayClass) -> bool {
    class.spec.controller_name == names::CONTROLLER_NAME
}

/// The conditions to apply to a class of ours, or `None` when what stands there says the same already. `unsupported` are
/// versions in this cluster that are not supported, in words.
pub fn status(class: &GatewayClass, unsupported: Option<&str>, now: &Time) -> Option<GatewayClassStatus> {
    let present = class.status.as_ref().and_then(|status| status.conditions.as_ref());
    let drafts = [accepted(class), supported_version(unsupported)];
    let conditions = drafted(&drafts, present.map(Vec::as_slice), class.metadata.generation, now);
    (!has_all(present, &conditions))
        .then_some(GatewayClassStatus { conditions: Some(conditions), supported_features: None })
}

/// The finalizers that a class of ours is to have, or `None` when it has them: Gateway API's own one while Gateways name
/// it, so that a deletion waits for them. Once a deletion has begun none may be added any more.
pub fn finalizers(class: &GatewayClass, is_named: bool) -> Option<Vec<String>> {
    let present = class.metadata.finalizers.as_deref().unwrap_or_default();
    let is_there = present.iter().any(|finalizer| finalizer == names::GATEWAY_EXISTS);
    let deleting = class.metadata.deletion_timestamp.is_some();
    if is_named == is_there || is_named && deleting {
        return None;
    }
    let mut wanted: Vec<String> =
        present.iter().filter(|finalizer| *finalizer != names::GATEWAY_EXISTS).cloned().collect();
    wanted.extend(is_named.then(|| names::GATEWAY_EXISTS.to_owned()));
    Some(wanted)
}

/// The features to apply to a class of ours, or `None` when they stand there already.
///
/// They go under a field manager of their own, [`names::CONTROLLER_FEATURES`], and only to an API server whose
/// schema has them as objects with a `name`: an older one has plain strings and refuses the whole status.
pub fn features(class: &GatewayClass) -> Option<GatewayClassStatus> {
    let wanted: Vec<_> =
        FEATURES.map(|name| GatewayClassStatusSupportedFeatures { name: name.to_owned() }).to_vec();
    let present = class.status.as_ref().and_then(|status| status.supported_features.as_ref());
    let has_all = present.is_some_and(|present| wanted.iter().all(|feature| present.contains(feature)));
    (!has_all).then_some(GatewayClassStatus { conditions: None, supported_features: Some(wanted) })
}

fn accepted(class: &GatewayClass) -> ConditionDraft {
    let (status, reason, message) = match &class.spec.parameters_ref {
        Some(parameters) => (
            false,
            "InvalidParameters",
            format!(
                "spec.parametersRef names {} {}; no parameters are known here",
                parameters.kind, parameters.name
            ),
        ),
        None => (true, "Accepted", String::new()),
    };
    ConditionDraft { type_: "Accepted", status, reason, message }
}

fn supported_version(unsupported: Option<&str>) -> ConditionDraft {
    let (status, reason, message) = match unsupported {
        Some(words) => (false, "UnsupportedVersion", words),
        None => (true, "SupportedVersion", ""),
    };
    ConditionDraft { type_: "SupportedVersion", status, reason, message: message.to_owned() }
}

/// Names of Gateway API's features that we have, sorted.
const FEATURES: [&str; 3] = ["Gateway", "GatewayInfrastructure", "GatewayStaticAddresses"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn class(spec: Value, status: Option<GatewayClassStatus>) -> GatewayClass {
        let mut class: GatewayClass =
            serde_json::from_value(json!({"metadata": {"name": "c", "generation": 3}, "spec": spec}))
                .unwrap();
        class.status = status;
        class
    }

    fn at(second: u8) -> Time {
        serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into()).unwrap()
    }

    #[test]
    fn a_class_is_accepted_once() {
        let spec = json!({"controllerName": names::CONTROLLER_NAME});
        let written = status(&class(spec.clone(), None), None, &at(1)).unwrap();
        let condition = &written.conditions.as_ref().unwrap()[0];
        assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)));
        assert_eq!(status(&class(spec.clone(), Some(written.clone())), None, &at(2)), None);
        let written = status(&class(spec.clone(), Some(written)), Some("too old"), &at(2)).unwrap();
        let [accepted, version] = &written.conditions.unwrap()[..] else { panic!("two conditions") };
        assert_eq!((version.reason.as_str(), version.message.as_str()), ("UnsupportedVersion", "too old"));
        assert_eq!(accepted.last_transition_time, at(1), "which has not changed");

        let written = features(&class(spec.clone(), None)).unwrap();
        assert_eq!(written.conditions, None, "the other field manager has them");
        assert_eq!(features(&class(spec, Some(written))), None);
    }

    #[test]
    fn parameters_are_not_resolved() {
        let parameters = json!({"group": "", "kind": "ConfigMap", "name": "p"});
        let spec = json!({"controllerName": names::CONTROLLER_NAME, "parametersRef": parameters});
        let condition = &status(&class(spec, None), None, &at(1)).unwrap().conditions.unwrap()[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "InvalidParameters"));
    }
}
