//! Netlink messages: headers, attributes, and nothing of what they mean.

/// Length of a message header.
pub(super) const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// Flag bits of an attribute's type (nested, byte order).
const TYPE_MASK: u16 = 0x3fff;

/// Messages one after the other, as one `send` takes them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where the message being written starts.
    start: usize,
}

impl Writer {
    /// Starts a message. `fixed` is what stands between the header and the attributes.
    pub(super) fn message(&mut self, kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        self.close()
    }

    /// Appends an attribute, shorter than 64 KiB.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.close()
    }

    /// Appends an attribute that is one number.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// The messages so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Pads to the next message or attribute and corrects the message's length.
    fn close(&mut self) -> &mut Self {
        self.bytes.resize(aligned(self.bytes.len()), 0);
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// A received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// The messages in a datagram; what is cut off is left out.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a message behind its fixed part; what is cut off is left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those behind the first `fixed` bytes.
    pub(super) fn after(fixed: usize, payload: &'a [u8]) -> Self {
        Attributes(payload.get(aligned(fixed)..).unwrap_or_default())
    }

    /// Type and value of each.
    pub(super) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut bytes = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16_at(bytes, 0)?);
            let kind = u16_at(bytes, 2)? & TYPE_MASK;
            let value = bytes.get(ATTRIBUTE_HEADER..length)?;
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    /// Value of the first of that type.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(of, _)| *of == kind).map(|(_, value)| value)
    }

    /// The same as one number.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
