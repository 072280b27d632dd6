//! NOTIFICATION (RFC 4271 section 4.5): why a session ends, for the peer and in words for people.

use std::borrow::Cow;
use std::fmt;

use super::frame::MessageType;
use super::{MAX_LEN, begin, finish};

/// The longest shutdown communication, in octets (RFC 9003).
const MAX_COMMUNICATION: usize = 255;
/// The most data a NOTIFICATION of ordinary length has room for.
const MAX_DATA: usize = MAX_LEN - super::HEADER_LEN - 2;

/// A NOTIFICATION, sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the error is about; its form depends on code and subcode.
    pub data: Vec<u8>,
}

/// An error code with its subcode, without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
}

macro_rules! reasons {
    ($($name:ident = $code:literal / $subcode:literal, $words:literal;)*) => {
        impl Reason {
            $(
                #[doc = concat!($words, " (", $code, "/", $subcode, ").")]
                pub const $name: Reason = Reason { code: $code, subcode: $subcode };
            )*

            fn subcode_words(self) -> Option<&'static str> {
                match (self.code, self.subcode) {
                    $(($code, $subcode) => Some($words),)*
                    _ => None,
                }
            }
        }
    };
}

// The words are those of the IANA registry "BGP Error Codes" and its subcode registries.
reasons! {
    CONNECTION_NOT_SYNCHRONIZED = 1 / 1, "Connection Not Synchronized";
    BAD_MESSAGE_LENGTH = 1 / 2, "Bad Message Length";
    BAD_MESSAGE_TYPE = 1 / 3, "Bad Message Type";
    OPEN_UNSPECIFIC = 2 / 0, "Unspecific";
    UNSUPPORTED_VERSION = 2 / 1, "Unsupported Version Number";
    BAD_PEER_AS = 2 / 2, "Bad Peer AS";
    BAD_BGP_IDENTIFIER = 2 / 3, "Bad BGP Identifier";
    UNSUPPORTED_OPTIONAL_PARAMETER = 2 / 4, "Unsupported Optional Parameter";
    UNACCEPTABLE_HOLD_TIME = 2 / 6, "Unacceptable Hold Time";
    UNSUPPORTED_CAPABILITY = 2 / 7, "Unsupported Capability";
    ROLE_MISMATCH = 2 / 11, "Role Mismatch";
    MALFORMED_ATTRIBUTE_LIST = 3 / 1, "Malformed Attribute List";
    UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE = 3 / 2, "Unrecognized Well-known Attribute";
    MISSING_WELL_KNOWN_ATTRIBUTE = 3 / 3, "Missing Well-known Attribute";
    ATTRIBUTE_FLAGS = 3 / 4, "Attribute Flags Error";
    ATTRIBUTE_LENGTH = 3 / 5, "Attribute Length Error";
    INVALID_ORIGIN = 3 / 6, "Invalid ORIGIN Attribute";
    INVALID_NEXT_HOP = 3 / 8, "Invalid NEXT_HOP Attribute";
    OPTIONAL_ATTRIBUTE = 3 / 9, "Optional Attribute Error";
    INVALID_NETWORK_FIELD = 3 / 10, "Invalid Network Field";
    MALFORMED_AS_PATH = 3 / 11, "Malformed AS_PATH";
    HOLD_TIMER_EXPIRED = 4 / 0, "Unspecific";
    FSM_UNSPECIFIED = 5 / 0, "Unspecified Error";
    UNEXPECTED_IN_OPEN_SENT = 5 / 1, "Receive Unexpected Message in OpenSent State";
    UNEXPECTED_IN_OPEN_CONFIRM = 5 / 2, "Receive Unexpected Message in OpenConfirm State";
    UNEXPECTED_IN_ESTABLISHED = 5 / 3, "Receive Unexpected Message in Established State";
    MAXIMUM_PREFIXES_REACHED = 6 / 1, "Maximum Number of Prefixes Reached";
    ADMINISTRATIVE_SHUTDOWN = 6 / 2, "Administrative Shutdown";
    PEER_DECONFIGURED = 6 / 3, "Peer De-configured";
    ADMINISTRATIVE_RESET = 6 / 4, "Administrative Reset";
    CONNECTION_REJECTED = 6 / 5, "Connection Rejected";
    OTHER_CONFIGURATION_CHANGE = 6 / 6, "Other Configuration Change";
    CONNECTION_COLLISION_RESOLUTION = 6 / 7, "Connection Collision Resolution";
    OUT_OF_RESOURCES = 6 / 8, "Out of Resources";
    HARD_RESET = 6 / 9, "Hard Reset";
    BFD_DOWN = 6 / 10, "BFD Down";
    INVALID_MESSAGE_LENGTH = 7 / 1, "Invalid Message Length";
    SEND_HOLD_TIMER_EXPIRED = 8 / 0, "Unspecific";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            1 => f.write_str("Message Header Error")?,
            2 => f.write_str("OPEN Message Error")?,
            3 => f.write_str("UPDATE Message Error")?,
            4 => f.write_str("Hold Timer Expired")?,
            5 => f.write_str("Finite State Machine Error")?,
            6 => f.write_str("Cease")?,
            7 => f.write_str("ROUTE-REFRESH Message Error")?,
            8 => f.write_str("Send Hold Timer Expired")?,
            code => write!(f, "Error code {code}")?,
        }
        match self.subcode_words() {
            _ if self.subcode == 0 => Ok(()),
            Some(words) => write!(f, ": {words}"),
            None => write!(f, ": subcode {}", self.subcode),
        }
    }
}

impl From<Reason> for Notification {
    fn from(reason: Reason) -> Notification {
        Notification { code: reason.code, subcode: reason.subcode, data: Vec::new() }
    }
}

impl Notification {
    /// A NOTIFICATION with data.
    pub fn new(reason: Reason, data: impl Into<Vec<u8>>) -> Notification {
        Notification { code: reason.code, subcode: reason.subcode, data: data.into() }
    }

    /// Cease, Administrative Shutdown with a shutdown communication (RFC 9003), cut to 255 octets.
    pub fn admin_shutdown(text: &str) -> Notification {
        Notification::new(Reason::ADMINISTRATIVE_SHUTDOWN, communication(text))
    }

    /// Cease, Administrative Reset with a shutdown communication (RFC 9003), cut to 255 octets.
    pub fn admin_reset(text: &str) -> Notification {
        Notification::new(Reason::ADMINISTRATIVE_RESET, communication(text))
    }

    /// Cease, Hard Reset around another one: the session ends without graceful restart (RFC 8538 section 3.1).
    pub fn hard_reset(inner: &Notification) -> Notification {
        let mut data = vec![inner.code, inner.subcode];
        data.extend_from_slice(&inner.data);
        Notification::new(Reason::HARD_RESET, data)
    }

    /// Code and subcode.
    pub fn reason(&self) -> Reason {
        Reason { code: self.code, subcode: self.subcode }
    }

    /// What a Hard Reset wraps.
    pub fn inner(&self) -> Option<Notification> {
        let [code, subcode, data @ ..] = self.data.as_slice() else { return None };
        let inner = Notification { code: *code, subcode: *subcode, data: data.to_vec() };
        (self.reason() == Reason::HARD_RESET).then_some(inner)
    }

    /// The shutdown communication (RFC 9003), if there is one. What is not UTF-8 is replaced; a length octet that
    /// claims more than there is gives what there is. Not escaped: use `{:?}` to show it to people.
    pub fn communication(&self) -> Option<Cow<'_, str>> {
        if !matches!(self.reason(), Reason::ADMINISTRATIVE_SHUTDOWN | Reason::ADMINISTRATIVE_RESET) {
            return None;
        }
        let (len, text) = self.data.split_first()?;
        let text = &text[..text.len().min(usize::from(*len))];
        (!text.is_empty()).then(|| String::from_utf8_lossy(text))
    }

    /// Reads the body of a NOTIFICATION. One too short to carry a code, which framing does not let through, reads as
    /// code 0.
    pub fn decode(body: &[u8]) -> Notification {
        match body {
            [code, subcode, data @ ..] => {
                Notification { code: *code, subcode: *subcode, data: data.to_vec() }
            }
            _ => Notification { code: 0, subcode: 0, data: body.to_vec() },
        }
    }

    /// Appends the whole message. Data beyond 4096 octets of message is cut off: it is there for people to read.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, MessageType::Notification);
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(&self.data[..self.data.len().min(MAX_DATA)]);
        finish(out, start);
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)?;
        if let Some(text) = self.communication() {
            // Debug form: quoted, and control characters escaped.
            return write!(f, ", {text:?}");
        }
        // A reset within a reset is not unwrapped again: a peer could nest thousands.
        match self.inner() {
            Some(inner) if inner.reason() != Reason::HARD_RESET => write!(f, " ({inner})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Notification {}

fn communication(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.floor_char_boundary(MAX_COMMUNICATION)];
    let mut data = Vec::with_capacity(1 + text.len());
    data.push(text.len() as u8);
    data.extend_from_slice(text);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_communication_is_cut_on_a_character_boundary() {
        let notification = Notification::admin_shutdown(&"ü".repeat(200));
        assert_eq!(notification.data[0], 254);
        assert_eq!(notification.communication().as_deref(), Some("ü".repeat(127).as_str()));
    }

    #[test]
    fn words_for_people_never_carry_control_characters() {
        let show =
            |code, subcode, data: &[u8]| Notification { code, subcode, data: data.to_vec() }.to_string();
        assert_eq!(show(6, 2, b"\x05hello"), r#"Cease: Administrative Shutdown, "hello""#);
        assert_eq!(show(6, 4, b"\x05a\x1b[m\n"), r#"Cease: Administrative Reset, "a\u{1b}[m\n""#);
        assert_eq!(show(6, 2, b"\xffa\xff"), "Cease: Administrative Shutdown, \"a\u{fffd}\"");
        assert_eq!(show(6, 2, b"\x00"), "Cease: Administrative Shutdown");
        assert_eq!(show(4, 0, b""), "Hold Timer Expired");
        assert_eq!(show(3, 200, b""), "UPDATE Message Error: subcode 200");
        assert_eq!(show(99, 0, b""), "Error code 99");
    }

    #[test]
    fn a_hard_reset_wraps_and_unwraps_its_reason() {
        let inner = Notification::admin_reset("maintenance");
        let reset = Notification::hard_reset(&inner);
        assert_eq!(reset.reason(), Reason::HARD_RESET);
        assert_eq!(reset.inner(), Some(inner));
        assert_eq!(reset.to_string(), r#"Cease: Hard Reset (Cease: Administrative Reset, "maintenance")"#);
    }

    #[test]
    fn encode_cuts_what_does_not_fit_and_decodes_equal() {
        let mut out = Vec::new();
        Notification::new(Reason::OPTIONAL_ATTRIBUTE, vec![7; 60_000]).encode(&mut out);
        assert_eq!(out.len(), MAX_LEN);
        out.clear();
        let notification = Notification::admin_shutdown("bye");
        notification.encode(&mut out);
        assert_eq!(Notification::decode(&out[super::super::HEADER_LEN..]), notification);
    }
}
