//! Whether an object says what we want it to, whatever the API server and others have added.

use serde_json::Value;

/// Whether every field of `wanted` stands in `observed` with the same value. Lists are compared item by
/// item and have the same length. Then there is nothing to write.
///
/// A field that is null or empty in `wanted` may be absent. Quantities are compared by what they amount to:
/// the API server writes `0.1` as `100m`. Of owners, more may be there.
pub fn covers(observed: &Value, wanted: &Value) -> bool {
    covers_at("", "", observed, wanted)
}

fn covers_at(parent: &str, key: &str, observed: &Value, wanted: &Value) -> bool {
    match (observed, wanted) {
        (Value::Object(observed), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            observed.get(name).map_or(is_nothing(wanted), |observed| covers_at(key, name, observed, wanted))
        }),
        (Value::Array(observed), Value::Array(wanted)) if key == "ownerReferences" => {
            wanted.iter().all(|wanted| observed.iter().any(|observed| covers_at(key, "", observed, wanted)))
        }
        (Value::Array(observed), Value::Array(wanted)) => {
            let mut pairs = observed.iter().zip(wanted);
            observed.len() == wanted.len()
                && pairs.all(|(observed, wanted)| covers_at(key, "", observed, wanted))
        }
        (Value::String(observed), Value::String(wanted)) if is_quantity(parent, key) => {
            observed == wanted || amount(observed).is_some_and(|amount_| Some(amount_) == amount(wanted))
        }
        _ => observed == wanted || is_nothing(wanted) && is_nothing(observed),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn is_quantity(parent: &str, key: &str) -> bool {
    matches!(parent, "requests" | "limits") || key == "sizeLimit"
}

/// A Kubernetes quantity in billionths; `None` for one with an exponent or more digits than that.
fn amount(text: &str) -> Option<u128> {
    let (number, suffix) =
        text.split_at(text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len()));
    let (_, scale) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = digits.checked_mul(*scale)?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    (product % divisor == 0).then_some(product / divisor)
}

const BILLION: u128 = 1_000_000_000;
const SUFFIXES: [(&str, u128); 16] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", BILLION),
    ("k", BILLION * 1_000),
    ("M", BILLION * 1_000_000),
    ("G", BILLION * 1_000_000_000),
    ("T", BILLION * 1_000_000_000_000),
    ("P", BILLION * 1_000_000_000_000_000),
    ("E", BILLION * 1_000_000_000_000_000_000),
    ("Ki", BILLION << 10),
    ("Mi", BILLION << 20),
    ("Gi", BILLION << 30),
    ("Ti", BILLION << 40),
    ("Pi", BILLION << 50),
    ("Ei", BILLION << 60),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_does_not_matter() {
        let wanted =
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "router"}]}});
        let observed = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "uid": "x"},
            "spec": {"containers": [{"name": "router", "terminationMessagePath": "/dev/termination-log"}]},
            "status": {},
        });
        assert!(covers(&observed, &wanted));
        assert!(!covers(&wanted, &observed));
    }

    #[test]
    fn a_list_has_just_our_items() {
        let list = |items: &[&str]| json!({"args": items});
        assert!(covers(&list(&["a", "b"]), &list(&["a", "b"])));
        assert!(!covers(&list(&["a", "b"]), &list(&["a"])));
        assert!(!covers(&list(&["b", "a"]), &list(&["a", "b"])));
        let owners = |uids: &[&str]| json!({"ownerReferences": uids});
        assert!(covers(&owners(&["other", "ours"]), &owners(&["ours"])));
    }

    #[test]
    fn nothing_is_covered_by_absence() {
        assert!(covers(&json!({}), &json!({"resources": {}, "volumes": [], "image": null})));
        assert!(!covers(&json!({}), &json!({"optional": false})));
        assert!(!covers(&json!({"volumes": ["a"]}), &json!({"volumes": []})));
    }

    #[test]
    fn quantities_are_what_they_amount_to() {
        let of = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        for (observed, wanted) in
            [("100m", "0.1"), ("1Gi", "1024Mi"), ("1", "1000m"), ("1500m", "1.5"), ("2k", "2000")]
        {
            assert!(covers(&of(observed), &of(wanted)), "{observed} {wanted}");
        }
        assert!(!covers(&of("100m"), &of("101m")));
        assert!(!covers(&of("1"), &of("x")));
        assert!(!covers(&json!({"args": "1"}), &json!({"args": "1.0"})), "not everything is a quantity");
    }
}
