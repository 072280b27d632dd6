use super::*;

fn tree(text: &str) -> Node<'_> {
    let mut documents = parse(text.as_bytes());
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).unwrap()
}

fn broken(text: &[u8]) -> (u32, u32, String) {
    match parse(text).pop() {
        Some(Err(broken)) => (broken.at.line, broken.at.column, broken.message),
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn nodes_know_their_place() {
    let root = tree("---\r\nspec:\r\n  ports:\r\n    - port: 4000\r\n");
    let port = match &root.get("spec").unwrap().get("ports").unwrap().value {
        Value::Sequence(ports) => ports[0].get("port").unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((port.at, &port.value), (Position { line: 4, column: 13 }, &Value::Int(4000)));
}

#[test]
fn quotes_and_tags_make_text() {
    for text in ["a: \"4000\"", "a: '4000'", "a: !!str 4000", "a: |-\n  4000", "a: ! 4000"] {
        assert_eq!(tree(text).get("a").unwrap().value, Value::Text("4000".into()), "{text}");
    }
}

#[test]
fn json_is_read_tabs_and_escapes_included() {
    let root = tree("{\n\t\"a\": {\n\t\t\"b\": [1,2],\n\t\t\"c\":\"\\u00e9\\ud83d\\ude00\\/\\n\"\n\t}\n}\n");
    assert_eq!(root.get("a").unwrap().get("c").unwrap().value, Value::Text("é😀/\n".into()));
}

#[test]
fn aliases_and_merge_keys_are_followed() {
    let root = tree("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist: [*b]\n");
    assert_eq!(root.get("use").unwrap().get("x").unwrap().value, Value::Int(1));
    assert_eq!(root.get("use").unwrap().get("y").unwrap().value, Value::Int(3));
    assert!(
        matches!(&root.get("list").unwrap().value, Value::Sequence(items) if items[0].get("y").is_some())
    );
}

#[test]
fn errors_name_line_column_and_cause() {
    for (text, line, column, message) in [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "the key \"a\" stands twice, first in line 1"),
        ("a: &a [*a]\n", 1, 8, "an alias (`*...`) stands inside the value it repeats"),
        ("a: !custom 1\n", 1, 12, "this tag (`!...`) is not understood"),
        ("a: !!int x\n", 1, 10, "the tag `!!int` stands before something else"),
        ("? [a]\n: 1\n", 1, 3, "a key of a mapping must be text"),
        ("a:\n  <<: 1\n", 2, 7, "what stands under `<<` must be a mapping"),
    ] {
        assert_eq!(broken(text.as_bytes()), (line, column, message.to_owned()), "{text}");
    }
    let (line, column, message) = broken(b"spec:\n\taddress: x\n");
    assert_eq!((line, column), (2, 2), "{message}");
    assert!(message.contains("tab"), "{message}");
    assert_eq!(broken(b"a: 1\nb: \xc3\xa9\xff\n"), (2, 5, "a byte that is not UTF-8 text".to_owned()));
}

#[test]
fn what_was_read_before_an_error_is_at_hand() {
    let Some(Err(broken)) = parse(b"kind: Service\nmetadata:\n  name: a\nspec: [1,\n").pop() else {
        panic!()
    };
    let partial = broken.partial.unwrap();
    assert_eq!(partial.get("metadata").unwrap().get("name").unwrap().value, Value::Text("a".into()));
}

#[test]
fn billion_laughs_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![below; 9].join(", "));
    }
    assert_eq!(broken(text.as_bytes()).2, "aliases (`*...`) make this document too large");
}

#[test]
fn deep_nesting_is_refused_in_every_form() {
    let flow = "[".repeat(100_000);
    let block: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let mut aliases = String::from("a0: &a0 [1]\n");
    for level in 1..1000 {
        aliases += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    for text in [flow, block, aliases] {
        broken(text.as_bytes());
    }
}
