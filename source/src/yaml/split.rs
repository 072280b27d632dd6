//! Cuts a file into documents at its `---` lines, before any parsing.
//!
//! In YAML a line that begins with `---` and a blank is a document marker wherever it stands, block and quoted
//! scalars included (YAML 1.2.2, 9.1.2), so this cut is exact. It is made on bytes, so that neither a syntax error
//! nor a stray byte in one document reaches its neighbours.

/// The text of one document, its `---` line included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// Lines of the file before this text.
    pub(crate) lines_before: u32,
    /// Bytes of the file before this text.
    pub(crate) start: usize,
    pub(crate) text: &'a [u8],
}

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts `file` into documents. Text without content (blank lines, comments) makes no chunk of its own.
pub(crate) fn split(file: &[u8]) -> Vec<Chunk<'_>> {
    let mut offset = if file.starts_with(UTF8_BOM) { UTF8_BOM.len() } else { 0 };
    let mut chunks = Vec::new();
    let mut open = Open { start: offset, ..Open::default() };
    for (line_number, line) in file[offset..].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let marker = is_marker(line);
        // Directives (`%YAML 1.2`) belong to the marker that follows them.
        if marker && !open.only_directives() {
            open.close(file, offset, &mut chunks);
            open = Open { start: offset, lines_before: line_number, ..Open::default() };
        }
        if line.first() == Some(&b'%') && !open.content {
            open.directives = true;
        } else if !is_blank(if marker { &line[3..] } else { line }) {
            open.content = true;
        }
        offset += line.len();
    }
    open.close(file, offset, &mut chunks);
    chunks
}

/// The document that the lines read so far belong to.
#[derive(Default)]
struct Open {
    start: usize,
    lines_before: usize,
    directives: bool,
    content: bool,
}

impl Open {
    fn only_directives(&self) -> bool {
        self.directives && !self.content
    }

    fn close<'a>(&self, file: &'a [u8], end: usize, chunks: &mut Vec<Chunk<'a>>) {
        if self.content || self.directives {
            let lines_before = u32::try_from(self.lines_before).unwrap_or(u32::MAX);
            chunks.push(Chunk { lines_before, start: self.start, text: &file[self.start..end] });
        }
    }
}

fn is_marker(line: &[u8]) -> bool {
    line.starts_with(b"---") && line.get(3).is_none_or(u8::is_ascii_whitespace)
}

/// Whether a line holds nothing but white space or a comment.
fn is_blank(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line[0] == b'#'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(file: &str) -> Vec<(u32, &str)> {
        split(file.as_bytes())
            .into_iter()
            .map(|chunk| (chunk.lines_before, std::str::from_utf8(chunk.text).unwrap()))
            .collect()
    }

    #[test]
    fn documents_are_cut_at_their_markers_and_empty_ones_left_out() {
        assert_eq!(
            cut("a: 1\n---\n# nothing\n\n---\r\nb: 2\r\n--- # c\n--- {c: 3}\n---"),
            [(0, "a: 1\n"), (4, "---\r\nb: 2\r\n"), (7, "--- {c: 3}\n"),]
        );
        assert_eq!(cut(""), []);
        assert_eq!(cut("# only a comment\n"), []);
    }

    #[test]
    fn a_longer_dash_line_and_an_indented_one_are_content() {
        assert_eq!(cut("a: |\n  ---\n  text\n----\n"), [(0, "a: |\n  ---\n  text\n----\n")]);
    }

    #[test]
    fn directives_stay_with_the_document_they_precede() {
        assert_eq!(
            cut("%YAML 1.1\n---\na: 1\n---\nb: 2\n"),
            [(0, "%YAML 1.1\n---\na: 1\n"), (3, "---\nb: 2\n")]
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(cut("\u{feff}---\na: 1\n"), [(0, "---\na: 1\n")]);
    }
}
