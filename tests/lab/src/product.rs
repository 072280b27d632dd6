//! Where the binaries under test are.

use std::path::Path;

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
