use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::yaml;

#[derive(Debug, PartialEq, Deserialize)]
struct Spec {
    address: String,
    port: Option<u16>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<Spec>,
    mode: Option<Mode>,
    on: Option<bool>,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Mode {
    Active,
    Passive,
}

fn read<T: for<'a> Deserialize<'a>>(text: &str, secret: bool) -> Result<Decoded<T>, FieldError> {
    let root = yaml::parse(text.as_bytes()).remove(0).unwrap();
    decode(&root, secret, |reader| T::deserialize(reader))
}

fn error(text: &str) -> String {
    let error = read::<Spec>(text, false).unwrap_err();
    format!("{}:{} {}: {}", error.at.line, error.at.column, error.field, error.message)
}

#[test]
fn a_whole_value_is_read_and_unknown_fields_are_named() {
    let decoded = read::<Spec>(
        "address: a\nport: 179\nmode: Passive\non: yes\nadress: b\nports: [{address: c, x: {y: 1}}]\n",
        false,
    );
    let Decoded { value, unknown } = decoded.unwrap();
    assert_eq!((value.port, value.mode, value.on), (Some(179), Some(Mode::Passive), Some(true)));
    assert_eq!(
        unknown,
        [
            ("adress".to_owned(), Position { line: 5, column: 1 }),
            ("ports[0].x".to_owned(), Position { line: 6, column: 22 }),
        ]
    );
}

#[test]
fn errors_name_place_path_and_what_is_wanted() {
    for (text, wanted) in [
        ("port: 1\n", "1:1 address: is missing"),
        ("address: 12\n", "1:10 address: must be a string, is the number 12"),
        ("address: a\nport: abc\n", "2:7 port: must be a whole number from 0 to 65535, is the text \"abc\""),
        (
            "address: a\nport: 65536\n",
            "2:7 port: must be a whole number from 0 to 65535, is the number 65536",
        ),
        ("address: a\nport: -1\n", "2:7 port: must be a whole number from 0 to 65535, is the number -1"),
        ("address: a\nports:\n- address:\n", "3:10 ports[0].address: must be a string, is empty"),
        ("address: a\nports:\n- port: 1\n", "3:3 ports[0].address: is missing"),
        (
            "address: a\nlabels: {x.y/z: on}\n",
            "2:17 labels[\"x.y/z\"]: must be a string, is the boolean true",
        ),
        ("address: a\nmode: Both\n", "2:7 mode: must be one of Active, Passive, is \"Both\""),
        ("address: a\nports: {}\n", "2:8 ports: must be a list, is a mapping"),
        ("address: a\nports: [1]\n", "2:9 ports[0]: must be a mapping, is the number 1"),
        ("address: a\non: 'yes'\n", "2:5 on: must be a boolean, is the text \"yes\""),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
}

#[test]
fn a_long_text_is_cut_in_the_message() {
    let message = error(&format!("address: a\nport: {}\n", "x".repeat(10_000)));
    assert!(message.len() < 200, "{message}");
}

#[test]
fn errors_of_a_secret_hold_none_of_its_values() {
    for text in
        ["address: a\nport: hunter2\n", "address: a\nmode: hunter2\n", "address: a\nport: 4711471147\n"]
    {
        let error = read::<Spec>(text, true).unwrap_err();
        assert!(!error.message.contains("hunter2") && !error.message.contains("4711"), "{error:?}");
    }
}
