//! Errors of the API server, and on the way to it, in words for people.

use std::error::Error;

use kube::core::Status;

use super::served::is_absent;

/// What the server says or, where it does not answer, the error with all of its causes; nothing twice.
pub fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => said(status),
        error => with_causes(error),
    }
}

pub(super) fn said(status: &Status) -> String {
    if is_absent(status) {
        // What stands there is "404 page not found".
        return "the API server has nothing of this kind (404)".to_owned();
    }
    format!("{} ({} {})", status.message.trim_end(), status.code, status.reason)
}

pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    // What an API server that is ended looks like; rustls makes an essay of it.
    if words.contains("close_notify") { "the API server has closed the connection".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_are_told_once_and_a_closed_connection_is_a_sentence() {
        let below = Layer("refused", None);
        let error = Layer("cannot ask", Some(Box::new(Layer("refused", Some(Box::new(below))))));
        assert_eq!(with_causes(&error), "cannot ask: refused");
        let closed =
            Layer("peer closed connection without sending TLS close_notify: https://docs.rs/...", None);
        assert_eq!(with_causes(&closed), "the API server has closed the connection");
    }
}
