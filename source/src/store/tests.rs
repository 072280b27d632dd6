use super::*;

/// A Service whose version can be told by its port.
fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n    - port: {port}\n"
    )
}

/// The same, broken where its name can still be read.
fn broken_service(name: &str) -> String {
    service(name, 1).replace("- port: 1", "- port: many")
}

#[derive(Default)]
struct World(FolderStore);

impl World {
    fn file(&mut self, name: &str, text: impl AsRef<[u8]>) -> bool {
        self.0.set_file(name, text.as_ref().to_vec())
    }

    /// `name:port` of every Service.
    fn services(&self) -> String {
        let port =
            |object: &l34_crds::core::Service| object.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port;
        let services = self.0.objects().services.iter();
        services.map(|(_, name, object)| format!("{name}:{}", port(object))).collect::<Vec<_>>().join(" ")
    }

    fn problems(&self) -> Vec<String> {
        self.0.problems().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn objects_follow_their_files() {
    let mut world = World::default();
    assert!(world.file("a.yaml", service("a", 1) + &service("b", 1)));
    assert_eq!(world.services(), "a:1 b:1");
    assert!(world.file("a.yaml", service("b", 2)));
    assert_eq!(world.services(), "b:2");
    assert!(world.0.remove_file("a.yaml"));
    assert_eq!(world.services(), "");
    assert!(world.0.objects().services.is_empty() && world.0.holders.is_empty());
}

#[test]
fn the_same_text_changes_nothing() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1));
    assert!(!world.file("a.yaml", service("a", 1)));
    assert!(!world.0.remove_file("b.yaml"));
}

#[test]
fn an_unchanged_document_keeps_its_very_object() {
    let mut world = World::default();
    let object = |world: &World| Arc::clone(world.0.objects().services.get("default", "b").unwrap());
    world.file("a.yaml", service("a", 1) + &service("b", 1));
    let before = object(&world);
    world.file("a.yaml", "# a line more\n".to_owned() + &service("a", 2) + &service("b", 1));
    assert!(Arc::ptr_eq(&before, &object(&world)));
}

#[test]
fn a_place_moves_with_the_lines_before_it_and_with_the_file_that_counts() {
    let mut world = World::default();
    let b = ObjectRef::new(l34_crds::Kind::Service, "default", "b");
    let place = |world: &World| world.0.places().get(&b).map(|place| place.to_string());
    world.file("m.yaml", service("a", 1) + &service("b", 1));
    assert_eq!(place(&world).as_deref(), Some("m.yaml:10"));
    world.file("m.yaml", "# a line more\n".to_owned() + &service("a", 1) + &service("b", 1));
    assert_eq!(place(&world).as_deref(), Some("m.yaml:11"));
    world.file("a.yaml", service("b", 1));
    assert_eq!(place(&world).as_deref(), Some("a.yaml:2"));
    world.0.remove_file("a.yaml");
    assert_eq!(place(&world).as_deref(), Some("m.yaml:11"));
    world.0.remove_file("m.yaml");
    assert_eq!(place(&world), None);
}

#[test]
fn of_two_files_the_first_by_name_wins() {
    let mut world = World::default();
    world.file("b.yaml", service("a", 2));
    world.file("a.yaml", service("a", 1));
    assert_eq!(world.services(), "a:1");
    assert_eq!(
        world.problems(),
        ["b.yaml:2: Service default/a: stands in a.yaml too, which comes first by name and is taken"]
    );
    world.0.remove_file("a.yaml");
    assert_eq!((world.services().as_str(), world.problems().len()), ("a:2", 0));
}

#[test]
fn of_two_documents_in_a_file_the_first_wins() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1) + &service("a", 2));
    assert_eq!(world.services(), "a:1");
    assert_eq!(
        world.problems(),
        ["a.yaml:10: Service default/a: stands in this file already, in line 2, and is taken from there"]
    );
}

#[test]
fn a_broken_document_keeps_its_last_good_version_and_its_neighbours_move_on() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1) + &service("b", 1));
    world.file("a.yaml", broken_service("a") + &service("b", 2) + &service("c", 2));
    assert_eq!(world.services(), "a:1 b:2 c:2");
    assert_eq!(
        world.problems(),
        [
            "a.yaml: kept in the last good version until the file has no error: Service default/a",
            "a.yaml:8:13: Service default/a: spec.ports[0].port: must be a whole number from -2147483648 to 2147483647, \
         is the text \"many\"",
        ]
    );
    world.file("a.yaml", service("b", 3));
    assert_eq!((world.services().as_str(), world.problems().len()), ("b:3", 0));
}

#[test]
fn garbage_withdraws_nothing() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1) + &service("b", 1));
    for text in
        [&b"\xff\xfe\x00"[..], b"}{", b"apiVersion: v1\n", b"kind: Service\nmetadata: {name: a", b"text"]
    {
        world.file("a.yaml", text);
        assert_eq!(world.services(), "a:1 b:1");
        assert!(
            world.problems()[0].starts_with("a.yaml: kept in the last good version"),
            "{:?}",
            world.problems()
        );
    }
}

#[test]
fn a_file_cut_within_a_line_withdraws_nothing_and_changes_nothing() {
    let whole = service("a", 4000) + &service("b", 4000);
    for end in (0..whole.len()).filter(|&end| whole.as_bytes()[end] != b'\n' && !whole[..end].ends_with('\n'))
    {
        let mut world = World::default();
        world.file("a.yaml", &whole);
        world.file("a.yaml", &whole[..end]);
        assert_eq!((world.services().as_str(), world.problems().len()), ("a:4000 b:4000", 1), "cut at {end}");
        world.file("a.yaml", &whole);
        assert_eq!(world.problems().len(), 0);
    }
}

#[test]
fn an_emptied_file_keeps_its_objects_and_a_comment_withdraws_them() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1));
    world.file("a.yaml", "");
    assert_eq!((world.services().as_str(), world.problems().len()), ("a:1", 1));
    world.file("a.yaml", "# nothing any more\n");
    assert_eq!((world.services().as_str(), world.problems().len()), ("", 0));
    world.file("a.yaml", "");
    assert_eq!(world.problems().len(), 0, "nothing to lose");
}

#[test]
fn an_unreadable_file_keeps_its_objects() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1));
    assert!(world.0.set_unreadable("a.yaml", "permission denied".to_owned()));
    assert_eq!(
        (world.services().as_str(), world.problems()),
        ("a:1", vec!["a.yaml: permission denied".to_owned()])
    );
    assert!(world.file("a.yaml", service("a", 1)), "the problem is gone");
    assert_eq!(world.problems().len(), 0);
}

#[test]
fn an_object_that_moved_out_of_a_broken_file_is_taken_from_its_new_place() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1) + &service("b", 1));
    world.file("a.yaml", broken_service("b"));
    world.file("z.yaml", service("a", 2));
    assert_eq!(world.services(), "a:2 b:1");
    assert!(!world.problems().iter().any(|problem| problem.contains("comes first by name")));
}

#[test]
fn a_kind_that_is_not_read_is_named_once() {
    let mut world = World::default();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
    world.file("b.yaml", deployment);
    world.file("a.yaml", format!("{deployment}---\n{deployment}"));
    assert_eq!(
        world.problems(),
        ["a.yaml:1: apps/v1 Deployment is not read here: 3 objects ignored, the first of them this one"]
    );
    assert_eq!(world.0.problems()[0].severity, Severity::Note);
}

#[test]
fn objects_of_one_name_and_different_kind_or_namespace_are_different() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1) + &service("a", 2).replace("name: a", "name: a\n  namespace: blue"));
    world.file("b.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n");
    assert_eq!((world.services().as_str(), world.problems().len()), ("a:2 a:1", 0));
    assert!(world.0.objects().secrets.get("default", "a").is_some());
}

#[test]
fn a_snapshot_is_not_touched_by_later_changes() {
    let mut world = World::default();
    world.file("a.yaml", service("a", 1));
    let snapshot = world.0.objects().clone();
    world.0.remove_file("a.yaml");
    assert_eq!(snapshot.services.len(), 1);
}

/// The store against the rule in its simplest form, over random files and changes.
mod model {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_winner_is_always_the_first_file_that_has_the_object(
            steps in prop::collection::vec((0..3usize, prop::collection::vec((0..3usize, 1..4u16), 0..3), any::<bool>()), 1..20)
        ) {
            let mut world = World::default();
            let mut files: BTreeMap<String, BTreeMap<String, u16>> = BTreeMap::new();
            for (file, contents, delete) in steps {
                let file = format!("{file}.yaml");
                if delete {
                    world.0.remove_file(&file);
                    files.remove(&file);
                    continue;
                }
                let text: String = contents.iter().map(|(name, port)| service(&format!("s{name}"), *port)).collect();
                world.file(&file, format!("# not empty\n{text}"));
                let mut objects = BTreeMap::new();
                for (name, port) in contents {
                    objects.entry(format!("s{name}")).or_insert(port);
                }
                files.insert(file, objects);
            }
            let mut wanted: BTreeMap<&String, u16> = BTreeMap::new();
            for (name, port) in files.values().flatten() {
                wanted.entry(name).or_insert(*port);
            }
            let wanted: Vec<String> = wanted.iter().map(|(name, port)| format!("{name}:{port}")).collect();
            prop_assert_eq!(world.services(), wanted.join(" "));
        }
    }
}
