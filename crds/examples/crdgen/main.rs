//! Writes the CRD files into `yaml/`: `cargo run -p l34-crds --example crdgen`.

mod render;

fn main() -> std::io::Result<()> {
    for (path, text) in render::files().map_err(std::io::Error::other)? {
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
