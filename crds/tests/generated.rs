//! The CRD files in `yaml/` are what the types say.

#[path = "../examples/crdgen/render.rs"]
mod render;

#[test]
fn the_files_in_yaml_are_up_to_date() -> Result<(), Box<dyn std::error::Error>> {
    for (path, wanted) in render::files()? {
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            present == wanted,
            "{} is not what the types say; write it anew with `cargo run -p l34-crds --example crdgen`",
            path.display()
        );
    }
    Ok(())
}
