//! Where the product under test is: its binaries, and those of its files that tests read.

use std::path::{Path, PathBuf};

/// A file of the product by its path in the sources: in the tree `$L34_TREE`, else in this one.
pub fn source_file(path: &str) -> PathBuf {
    let tree = std::env::var_os("L34_TREE").map(PathBuf::from);
    tree.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).join(path)
}

/// A binary of this workspace: in `$L34_BIN`, else beside this test in the build folder. `name` as `l34-router` or
/// `examples/speaker`.
#[track_caller]
pub(crate) fn product(name: &str) -> String {
    let dir = match std::env::var("L34_BIN") {
        Ok(dir) => dir.into(),
        Err(_) => match std::env::current_exe() {
            // target/debug/deps/labs-0123 -> target/debug
            Ok(test) => test
                .ancestors()
                .skip(1)
                .find(|dir| !dir.ends_with("deps"))
                .unwrap_or(Path::new(""))
                .to_owned(),
            Err(error) => panic!("cannot find this test's own path: {error}"),
        },
    };
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: `make labs` builds it", path.display());
    path.display().to_string()
}
