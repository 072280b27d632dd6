//! The chart of the controller, beside the code that it is for.

use std::error::Error;
use std::fs;

use l34_charts::{POC, read, root};
use l34_plan::daemonset;
use serde_json::{Value, json};

#[test]
fn crds_are_those_of_the_types_and_stay_at_uninstall() -> Result<(), Box<dyn Error>> {
    let mut wanted = Vec::new();
    for entry in fs::read_dir(root().join("crds/yaml"))? {
        let text = fs::read_to_string(entry?.path())?;
        let mut crd: Value = serde_saphyr::from_str(&text)?;
        crd["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        wanted.push(crd);
    }
    let mut rendered = POC.objects(&[])?;
    rendered.retain(|object| object["kind"] == "CustomResourceDefinition");
    assert_eq!(rendered.len(), wanted.len());
    for crd in wanted {
        let name = &crd["metadata"]["name"];
        // Not assert_eq: nobody reads two CRDs on one line.
        assert!(rendered.contains(&crd), "{name} is another one: `make generate` copies it");
    }
    Ok(())
}

#[test]
fn without_crds_there_is_none() -> Result<(), Box<dyn Error>> {
    let objects = POC.objects(&["--set", "crds.install=false"])?;
    assert!(objects.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
    Ok(())
}

#[test]
fn the_gateway_pods_are_the_controllers_own_default_but_for_image_and_priority() -> Result<(), Box<dyn Error>>
{
    let mut template = config(&[])?["routerTemplate"].take();
    daemonset::Template::new(template.clone())?;

    let pod = &mut template["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"].take(), "system-node-critical");
    pod.as_object_mut().map(|pod| pod.remove("priorityClassName"));
    let mut built_in: Value = serde_saphyr::from_str(daemonset::BUILT_IN)?;
    for (template, image) in
        [(&mut template, "localhost/l34-gateway/l34-router:0.1.0"), (&mut built_in, "l34-router:latest")]
    {
        let pod = &mut template["spec"]["template"]["spec"];
        assert_eq!(pod["initContainers"][0]["image"].take(), image);
        assert_eq!(pod["containers"][0]["image"].take(), image);
    }
    assert_eq!(template, built_in);
    Ok(())
}

#[test]
fn every_router_value_makes_a_template_that_the_controller_takes() -> Result<(), Box<dyn Error>> {
    let values = root().join("tests/charts/golden/poc/everything.values.yaml").display().to_string();
    daemonset::Template::new(config(&["--values", &values])?["routerTemplate"].take())?;
    Ok(())
}

#[test]
fn a_change_of_the_configuration_rolls_the_controllers_out() -> Result<(), Box<dyn Error>> {
    let checksum = |arguments: &[&str]| -> Result<Value, Box<dyn Error>> {
        let mut objects = POC.objects(arguments)?;
        let deployment = objects.iter_mut().find(|object| object["kind"] == "Deployment").ok_or("none")?;
        Ok(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"].take())
    };
    let before = checksum(&[])?;
    assert!(before.is_string());
    assert_eq!(before, checksum(&["--set", "controller.replicas=3"])?);
    assert_ne!(before, checksum(&["--set", "allowedAddresses[0].ranges[0]=20.0.0.0/24"])?);
    assert_ne!(before, checksum(&["--set", "router.rollout.surge=true"])?);
    Ok(())
}

#[test]
fn with_watched_namespaces_the_rights_in_the_cluster_are_those_on_gateway_classes()
-> Result<(), Box<dyn Error>> {
    let objects = POC.objects(&["--set", "watchNamespaces={team-a,team-b}"])?;
    let named = |kind: &str| -> Vec<String> {
        let of_kind = objects.iter().filter(|object| object["kind"] == kind);
        let mut names: Vec<String> =
            of_kind.map(|o| format!("{} {}", o["metadata"]["namespace"], o["roleRef"]["name"])).collect();
        names.sort();
        names
    };
    assert_eq!(named("ClusterRoleBinding"), [r#"null "l34-controller-gatewayclasses""#]);
    assert_eq!(
        named("RoleBinding"),
        [r#""l34" "l34-controller-lease""#, r#""team-a" "l34-controller""#, r#""team-b" "l34-controller""#]
    );
    Ok(())
}

#[test]
fn versions_are_those_of_the_product() -> Result<(), Box<dyn Error>> {
    let product = env!("CARGO_PKG_VERSION");
    for chart in ["deploy/PoC", "examples/target-application/deployment/helm"] {
        let chart: Value = serde_saphyr::from_str(&read(&format!("{chart}/Chart.yaml"))?)?;
        assert_eq!(chart["appVersion"], product);
    }
    let compose = read("docker-compose.yaml")?;
    assert!(compose.contains(&format!("${{VERSION:-{product}}}")), "docker-compose.yaml: another version");
    Ok(())
}

/// The controller's configuration.
fn config(arguments: &[&str]) -> Result<Value, Box<dyn Error>> {
    let objects = POC.objects(arguments)?;
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap").ok_or("there is no ConfigMap")?;
    Ok(serde_saphyr::from_str(map["data"]["config.yaml"].as_str().unwrap_or_default())?)
}
