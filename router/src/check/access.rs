//! What this account may do, as the API server says itself.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client, Error};
use serde_json::json;

use super::finding::Finding;

/// What the router needs of a kind.
struct Need {
    group: &'static str,
    plural: &'static str,
    verbs: &'static [&'static str],
    /// What happens without.
    otherwise: &'static str,
    needed: bool,
}

/// The ClusterRole `l34-router`.
const NEEDS: [Need; 8] = [
    Need {
        group: "gateway.networking.k8s.io",
        plural: "gateways",
        verbs: &["get", "list", "watch"],
        otherwise: "no VIP is known",
        needed: true,
    },
    Need {
        group: "l34.gateway.api.poc",
        plural: "gatewayrouters",
        verbs: &["get", "list", "watch"],
        otherwise: "no peer is known",
        needed: true,
    },
    Need {
        group: "",
        plural: "services",
        verbs: &["get", "list", "watch"],
        otherwise: "no VIP is served",
        needed: true,
    },
    Need {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        verbs: &["get", "list", "watch"],
        otherwise: "no VIP has endpoints",
        needed: true,
    },
    Need {
        group: "l34.gateway.api.poc",
        plural: "addressgrants",
        verbs: &["get", "list", "watch"],
        otherwise: "VIPs that the Gateway's status has no room for are not announced",
        needed: false,
    },
    Need {
        group: "",
        plural: "secrets",
        verbs: &["get"],
        otherwise: "peers with spec.bgp.auth stay down",
        needed: false,
    },
    Need {
        group: "l34.gateway.api.poc",
        plural: "routerstates",
        verbs: &["get", "create", "patch"],
        otherwise: "the status of GatewayRouters does not know of this router",
        needed: true,
    },
    Need {
        group: "events.k8s.io",
        plural: "events",
        verbs: &["create", "patch"],
        otherwise: "sessions come and go without an Event",
        needed: false,
    },
];

/// Asks for each kind that the router needs.
pub(super) async fn look(client: &Client, namespace: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for need in &NEEDS {
        let mut lacks = Vec::new();
        let mut failed = None;
        for verb in need.verbs {
            match may(client, namespace, need, verb).await {
                Ok(true) => {}
                Ok(false) => lacks.push(*verb),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        let what = format!("{} {} in {namespace}", need.verbs.join(", "), need.plural);
        let finding = match failed {
            Some(error) => Finding::unknown(format!("{what}: {error}")),
            None if lacks.is_empty() => Finding::good(what),
            None => Finding::bad(format!("{what}: no right to {}; {}", lacks.join(", "), need.otherwise)),
        };
        findings.push(if need.needed { finding } else { finding.optional() });
    }
    findings
}

/// A SelfSubjectAccessReview, which every account may ask for.
async fn may(client: &Client, namespace: &str, need: &Need, verb: &str) -> Result<bool, Error> {
    let kind = GroupVersionKind::gvk("authorization.k8s.io", "v1", "SelfSubjectAccessReview");
    let resource = ApiResource::from_gvk(&kind);
    let attributes =
        json!({"group": need.group, "resource": need.plural, "verb": verb, "namespace": namespace});
    let mut question = DynamicObject::new("", &resource);
    question.metadata.name = None;
    question.data = json!({"spec": {"resourceAttributes": attributes}});
    let answer = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let answer = answer.create(&PostParams::default(), &question).await?;
    Ok(answer.data["status"]["allowed"].as_bool().unwrap_or(false))
}
