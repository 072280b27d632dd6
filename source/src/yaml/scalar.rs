//! What a plain (unquoted) scalar means.
//!
//! The rules are those of `kubectl` and the API server's own YAML reader, which are YAML 1.1's where 1.1 and 1.2
//! differ: `yes`, `on` and `y` are booleans, `010` is eight, `1_000` a thousand. A file that is applied to a
//! cluster and one that lies in a folder must not differ in meaning.

/// A plain scalar's value; `Text` where it is none of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text,
}

/// Reads a plain scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => number(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain)).unwrap_or(Scalar::Text)
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero.
fn integer(plain: &str) -> Option<Scalar> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // from_str_radix takes a sign of its own, which would let `+-5` through.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).map(Scalar::Int)
    } else {
        Some(i64::try_from(magnitude).map_or(Scalar::Uint(magnitude), Scalar::Int))
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; a whole number written so is an integer, as in JSON.
fn float(plain: &str) -> Option<Scalar> {
    // Everything that f64 takes beyond that grammar has letters other than `e` (`inf`, `nan`, `infinity`).
    if plain.bytes().any(|byte| byte.is_ascii_alphabetic() && !byte.eq_ignore_ascii_case(&b'e')) {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: below, every whole f64 is one integer.
    Some(if value.fract() == 0.0 && value.abs() < EXACT {
        Scalar::Int(value as i64)
    } else {
        Scalar::Float(value)
    })
}

#[cfg(test)]
mod tests {
    use super::Scalar::*;
    use super::*;

    #[test]
    fn plain_scalars_mean_what_kubectl_takes_them_for() {
        for (text, meaning) in [
            ("", Null),
            ("~", Null),
            ("yes", Bool(true)),
            ("on", Bool(true)),
            ("Off", Bool(false)),
            ("n", Bool(false)),
            ("4000", Int(4000)),
            ("-1", Int(-1)),
            ("+7", Int(7)),
            ("4248829953", Int(4_248_829_953)),
            ("010", Int(8)),
            ("08", Int(8)),
            ("0x1F", Int(31)),
            ("0o17", Int(15)),
            ("1_000", Int(1000)),
            ("9223372036854775807", Int(i64::MAX)),
            ("-9223372036854775808", Int(i64::MIN)),
            ("18446744073709551615", Uint(u64::MAX)),
            ("18446744073709551616", Float(18_446_744_073_709_551_616.0)),
            ("1.5", Float(1.5)),
            ("80.0", Int(80)),
            ("1e3", Int(1000)),
            (".5", Float(0.5)),
            ("-.inf", Float(f64::NEG_INFINITY)),
            ("169.254.100.150", Text),
            ("2000::1", Text),
            ("24s", Text),
            ("+-5", Text),
            ("-", Text),
            (".", Text),
            ("1e", Text),
            ("0x", Text),
            ("-inf", Text),
            ("+infinity", Text),
            ("2024-01-01", Text),
            ("yEs", Text),
        ] {
            assert_eq!(resolve(text), meaning, "{text:?}");
        }
    }
}
