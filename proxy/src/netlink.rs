//! Netlink towards netfilter: a writer of messages, a reader of attributes, and a socket.
//!
//! The kernel carries out a request while it is being sent, so every answer is there when [`Socket::send`] returns:
//! nothing here ever waits.

mod socket;

pub(crate) use socket::{Socket, TransactError};

/// Writes netlink messages one after the other into one buffer.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    last: usize,
}

/// The head of a netfilter message.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// Subsystem in the upper byte, message in the lower.
    pub(crate) kind: u16,
    /// `NLM_F_*`; `NLM_F_REQUEST` is added.
    pub(crate) flags: u16,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    /// Subsystem of a batch, else 0.
    pub(crate) resource: u16,
}

impl Writer {
    /// Appends a message with what `body` writes into it.
    pub(crate) fn message(&mut self, head: Head, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(head.kind.to_ne_bytes());
        self.bytes.extend((head.flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend([head.family, libc::NFNETLINK_V0 as u8]);
        self.bytes.extend(head.resource.to_be_bytes());
        body(self);
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Asks for an acknowledgement of the message written last.
    pub(crate) fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6) {
            *flags |= libc::NLM_F_ACK as u8;
        }
    }

    /// An attribute. Its length with the head must fit into 16 bits, which all of ours do.
    pub(crate) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.bytes.extend((payload.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.pad();
    }

    /// An attribute with a number in network byte order.
    pub(crate) fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    /// An attribute with a string and its final zero.
    pub(crate) fn string(&mut self, kind: u16, string: &str) {
        self.bytes.extend((string.len() as u16 + 5).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(string.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// An attribute that holds the attributes which `body` writes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | libc::NLA_F_NESTED as u16).to_ne_bytes());
        body(self);
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// What was written so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

/// A received message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Subsystem and message, or a control message of netlink itself.
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// `NFPROTO_*`; 0 in control messages.
    pub(crate) family: u8,
    /// The error of an `NLMSG_ERROR` or `NLMSG_DONE`, negative; 0 for success.
    pub(crate) error: i32,
    /// Attributes.
    pub(crate) body: &'a [u8],
}

/// The messages in what was received. What is cut short is left out.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let message = bytes.get(..len).filter(|message| message.len() >= HEAD)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let kind = half(4);
        let payload = &message[HEAD..];
        let control = kind < libc::NLMSG_MIN_TYPE as u16;
        Some(Message {
            kind,
            flags: half(6),
            family: if control { 0 } else { payload.first().copied().unwrap_or(0) },
            error: if control { payload.first_chunk().map_or(0, |e| i32::from_ne_bytes(*e)) } else { 0 },
            body: if control { &[] } else { payload.get(4..).unwrap_or_default() },
        })
    })
}

/// The attributes in a message or in a nest: kind without flag bits, and payload.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let payload = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & libc::NLA_TYPE_MASK as u16, payload))
    })
}

/// The attribute of a kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

/// The attribute found by going from nest to nest.
pub(crate) fn path<'a>(bytes: &'a [u8], kinds: &[u16]) -> Option<&'a [u8]> {
    kinds.iter().try_fold(bytes, |bytes, kind| attribute(bytes, *kind))
}

/// A number in network byte order.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A string up to its final zero; `None` if it is not UTF-8.
pub(crate) fn string(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.split(|byte| *byte == 0).next()?).ok()
}

/// Length of a netlink message's head.
const HEAD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_cut_short_is_left_out() {
        let head = Head { kind: 0x0a00, flags: 0, family: 2, resource: 0 };
        let mut writer = Writer::default();
        writer.message(head, |writer| {
            writer.string(1, "l34");
            writer.nest(2, |writer| writer.number(3, 7));
        });
        writer.message(head, |writer| writer.attribute(4, &[1]));
        let read: Vec<_> = messages(writer.bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].family), (0x0a00, 2));
        assert_eq!(attribute(read[0].body, 1).and_then(string), Some("l34"));
        assert_eq!(path(read[0].body, &[2, 3]).and_then(number), Some(7));
        assert_eq!(attribute(read[1].body, 4), Some(&[1][..]));

        for len in 0..writer.bytes().len() {
            for message in messages(&writer.bytes()[..len]) {
                attributes(message.body).for_each(drop);
            }
        }
    }
}
