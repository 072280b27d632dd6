use super::*;

const ROUTER: &str = "\
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata:
  name: gateway-v4
spec:
  address: 169.254.100.150
  interface: vlan-100
  bgp:
    localASN: 8103
    remoteASN: 4248829953
    holdTime: 24s
";

fn objects(reading: &Reading) -> Vec<String> {
    reading.objects.iter().map(|placed| format!("{}: {}", placed.line, placed.reference)).collect()
}

fn faults(text: &str) -> Vec<String> {
    let reading = read(text.as_bytes());
    let fault = |fault: &Fault| {
        let object = fault.object.as_ref().map_or("?".to_owned(), ToString::to_string);
        format!("{}:{} {object} {}: {}", fault.at.line, fault.at.column, fault.field, fault.message)
    };
    reading.faults.iter().map(fault).collect()
}

#[test]
fn every_kind_is_read_and_an_absent_namespace_is_default() {
    for (manifest, reference) in [
        (ROUTER, "GatewayRouter default/gateway-v4"),
        (
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: Gateway\nmetadata: {name: g}\n\
             spec: {gatewayClassName: l-3-4-gateway-api-poc/kpng, listeners: [{name: all, port: 4000, protocol: TCP}]}\n",
            "Gateway default/g",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c, namespace: x}\n\
             spec: {controllerName: l-3-4-gateway-api-poc/kpng}\n",
            "GatewayClass c",
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: blue}\n", "Service blue/s"),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: ''}\n\
             addressType: IPv4\nendpoints: [{addresses: [169.255.100.2]}]\n",
            "EndpointSlice default/e",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, creationTimestamp: 2024-05-01T10:00:00Z}\n\
             spec: {containers: [{name: c, resources: {limits: {cpu: 1, memory: 1.5}}}]}\n",
            "Pod default/p",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: k}\n", "Secret default/k"),
    ] {
        let reading = read(manifest.as_bytes());
        assert_eq!(objects(&reading), [format!("1: {reference}")], "{:?}", reading.faults);
        assert_eq!(reading.objects[0].object.reference(), reading.objects[0].reference);
        assert!(reading.faults.is_empty(), "{:?}", reading.faults);
    }
}

#[test]
fn string_data_of_a_secret_goes_over_data() {
    let text =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\ndata: {a: b2xk, b: eA==}\nstringData: {a: new}\n";
    let reading = read(text.as_bytes());
    let Object::Secret(secret) = &reading.objects[0].object else { panic!() };
    let data = secret.data.as_ref().unwrap();
    assert_eq!((&*data["a"].0, &*data["b"].0), (&b"new"[..], &b"x"[..]));
    assert_eq!(secret.string_data, None);
}

#[test]
fn items_of_a_list_stand_for_themselves() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n\
                - apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: {ports: 1}\n\
                - apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n";
    let reading = read(text.as_bytes());
    assert_eq!(objects(&reading), ["4: Service default/a"]);
    assert_eq!(reading.ignored[0].kind, "v1 ConfigMap");
    assert_eq!(faults(text), ["10:17 Service default/b spec.ports: must be a list, is the number 1"]);
}

#[test]
fn faults_name_object_field_and_place() {
    let router = |from: &str, to: &str| ROUTER.replace(from, to);
    for (text, wanted) in [
        (
            router("4248829953", "abc"),
            "10:16 GatewayRouter default/gateway-v4 spec.bgp.remoteASN: must be a whole number, is the text \"abc\"",
        ),
        (
            router("24s", "24"),
            "11:15 GatewayRouter default/gateway-v4 spec.bgp.holdTime: must be a string, is the number 24",
        ),
        (
            router("holdTime", "holdtime"),
            "11:5 GatewayRouter default/gateway-v4 spec.bgp.holdtime: no such field in a GatewayRouter; it is ignored",
        ),
        (
            router("  address: 169.254.100.150\n", ""),
            "6:3 GatewayRouter default/gateway-v4 spec.address: is missing",
        ),
        (
            router("v1alpha1", "v1"),
            "1:13 ? apiVersion: must be l34.gateway.api.poc/v1alpha1, is \"l34.gateway.api.poc/v1\"",
        ),
        (router("name: gateway-v4", "name: 4"), "4:9 ? metadata.name: must be text; put it in quotes"),
        (
            router("gateway-v4", "Gateway_v4"),
            "4:9 ? metadata.name: must be of lower-case letters, digits, `-` and `.`",
        ),
        (
            router("kind: GatewayRouter\n", ""),
            "1:1 ? kind: is missing, or no text: this is no Kubernetes object",
        ),
        ("- a\n".to_owned(), "1:1 ? : a document must be a mapping with apiVersion and kind"),
    ] {
        assert_eq!(faults(&text), [wanted], "{text}");
    }
}

#[test]
fn a_syntax_error_names_the_object_it_stands_in() {
    let fault = &read(ROUTER.replace("  bgp:", " bgp:").as_bytes()).faults[0];
    assert_eq!(
        fault.object.as_ref().map(ToString::to_string).as_deref(),
        Some("GatewayRouter default/gateway-v4")
    );
    assert_eq!((fault.at.line, fault.severity), (8, Severity::Error));
    assert!(fault.message.starts_with("not valid YAML: "), "{}", fault.message);
}

#[test]
fn nothing_of_a_secret_appears_in_a_fault() {
    for data in
        ["data: {key: hunter2!}", "data: {key: [hunter2]}", "stringData: {key: 4711471147}", "data: hunter2"]
    {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\n{data}\n");
        let faults = faults(&text);
        assert_eq!(faults.len(), 1, "{data}");
        assert!(!faults[0].contains("hunter2") && !faults[0].contains("4711"), "{}", faults[0]);
    }
}

#[test]
fn a_kind_of_another_group_is_not_ours() {
    let reading = read(b"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n");
    assert!(reading.objects.is_empty() && reading.faults.is_empty());
    assert_eq!(reading.ignored[0].kind, "serving.knative.dev/v1 Service");
}

mod robustness {
    use proptest::prelude::*;

    use super::*;

    /// Text that looks enough like YAML to get past the first byte.
    fn yamlish() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "apiVersion: v1\n",
            "kind: Service\n",
            "kind: List\n",
            "items:\n",
            "metadata:\n",
            "  name: a\n",
            "spec:\n",
            "  ",
            "- ",
            "? ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "!x ",
            "\"",
            "'",
            "|\n",
            ">-\n",
            "\n",
            "\r\n",
            "\t",
            "#",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "\u{feff}",
            "\0",
            "é",
            "0x",
            "-1",
            "1e999",
            "null",
        ]);
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for chunk in yaml::split(&bytes) {
                read(chunk.text);
            }
        }

        #[test]
        fn any_yamlish_text_is_read_without_a_panic(text in yamlish()) {
            for chunk in yaml::split(text.as_bytes()) {
                read(chunk.text);
            }
        }

        #[test]
        fn a_manifest_with_a_changed_byte_is_read_without_a_panic(at in 0..ROUTER.len(), byte: u8) {
            let mut bytes = ROUTER.as_bytes().to_vec();
            bytes[at] = byte;
            for chunk in yaml::split(&bytes) {
                read(chunk.text);
            }
        }
    }
}
