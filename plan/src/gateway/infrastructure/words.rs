//! Messages of Kubernetes, made short, and the same each time the same thing happens: every retry has a new
//! Pod name, sandbox or container id in it.

/// What an Event `FailedCreate` of a DaemonSet says, without the name of the Pod that was tried.
pub(super) fn refusal(note: &str, daemon_set: &str) -> String {
    match note.split_once(" is forbidden: ") {
        Some((_, why)) => calm(why),
        None => {
            let note = note.strip_prefix("Error creating: ").unwrap_or(note);
            calm(&without_names_after(note, &format!("{daemon_set}-")))
        }
    }
}

/// What an Event `FailedCreatePodSandBox` says: of all that the runtime, Multus and the plugin wrap around
/// each other, the innermost.
pub(super) fn sandbox(note: &str) -> String {
    let innermost = ["ERRORED: ", " desc = "].iter().find_map(|mark| note.rsplit_once(mark));
    calm(innermost.map_or(note, |(_, rest)| rest))
}

/// Why an image cannot be pulled, with a colon before it; nothing when it is not said. The kubelet
/// alternates between the error and its back-off, which wraps the same error.
pub(super) fn image(message: &str) -> String {
    match message.rsplit_once(" desc = ") {
        Some((_, why)) => format!(": {}", calm(why)),
        None => String::new(),
    }
}

/// The last line of what a container left behind, with a colon before it; nothing when there is none.
pub(super) fn last_line(message: &str) -> String {
    match message.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(": {}", calm(line)),
        None => String::new(),
    }
}

/// The text without ids, and not longer than [`MAX`] characters.
pub(super) fn calm(text: &str) -> String {
    let is_id_character = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c) || c == '-';
    let mut calm = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_id_character(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let is_id = run.len() >= SHORTEST_ID && run.bytes().any(|b| b.is_ascii_digit());
        calm.push_str(if is_id { "..." } else { run });
        let end = after.find(is_id_character).unwrap_or(after.len());
        let (words, after) = after.split_at(end);
        calm.push_str(words);
        rest = after;
    }
    if let Some((end, _)) = calm.char_indices().nth(MAX) {
        calm.truncate(end);
        calm.push_str("...");
    }
    calm
}

/// Replaces what follows the prefix of a generated name.
fn without_names_after(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        result.push_str(prefix);
        result.push_str("...");
        result.push_str(&part[end..]);
    }
    result
}

/// Container ids have 64 hexadecimal digits or their first 12, UIDs have 36 characters.
const SHORTEST_ID: usize = 12;

/// Longest message that is passed on, in characters.
const MAX: usize = 400;
