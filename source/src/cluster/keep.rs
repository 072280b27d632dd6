//! The last known objects in a file, so that a restart while the API server is away finds them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use l34_crds::Kind;
use l34_plan::snapshot::{Object, Objects};
use serde::Serialize;
use serde_json::Value;

/// Why objects were not kept, or there are none to restore.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is damaged, or another version wrote it.
    #[error("line {0} is not what a router writes: {1}")]
    Content(usize, serde_json::Error),
    /// It ends before its last line.
    #[error("it is cut")]
    Cut,
}

/// Writes the objects to `path`, readable by nobody else: keys are among them. The file is there whole or as it was.
///
/// # Errors
/// [`KeepError::Io`].
pub fn write(path: &Path, objects: &Objects) -> Result<(), KeepError> {
    let beside = path.with_extension("new");
    // One that a crash left may have other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    let mut lines = 0;
    for object in objects.iter() {
        lines += 1;
        serde_json::to_writer(&mut out, &Line { kind: object.kind(), object: &object })
            .map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    writeln!(out, "{lines}")?;
    out.flush()?;
    drop(out);
    fs::rename(&beside, path)?;
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    kind: Kind,
    object: &'a Object,
}

/// Reads what [`write()`] wrote; `None` when there is no file.
///
/// # Errors
/// [`KeepError`]: what is damaged is not used in part.
pub fn read(path: &Path) -> Result<Option<Objects>, KeepError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut objects = Objects::default();
    let mut whole = false;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let in_line = |error| KeepError::Content(index + 1, error);
        let mut value: Value = serde_json::from_str(&line?).map_err(in_line)?;
        if let Some(lines) = value.as_u64() {
            whole = lines == index as u64;
            break;
        }
        let kind: Kind = serde_json::from_value(value["kind"].take()).map_err(in_line)?;
        objects.insert(Object::deserialize(kind, value["object"].take()).map_err(in_line)?);
    }
    if whole { Ok(Some(objects)) } else { Err(KeepError::Cut) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let secret =
            serde_json::json!({"metadata": {"namespace": "ns", "name": "key"}, "data": {"k": "c2VjcmV0"}});
        let mut objects = Objects::default();
        objects.insert(Object::deserialize(Kind::Secret, secret).unwrap());
        objects
    }

    #[test]
    fn what_is_written_is_read_again_and_nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects");
        assert!(read(&path).unwrap().is_none());
        write(&path, &objects()).unwrap();
        write(&path, &objects()).unwrap();
        assert_eq!(
            read(&path).unwrap().unwrap().secrets.get("ns", "key"),
            objects().secrets.get("ns", "key")
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_is_refused_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objects");
        write(&path, &objects()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for length in 0..text.len() - 1 {
            fs::write(&path, &text[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} octets of {}", text.len());
        }
    }
}
