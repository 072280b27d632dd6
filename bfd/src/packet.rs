//! The BFD Control packet (RFC 5880 section 4.1): decode with the checks of section 6.8.6 that need no session, and
//! encode.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};

use serde::Serialize;

/// Length of a BFD Control packet without an authentication section, in octets.
pub const PACKET_LEN: usize = 24;

/// Nonzero number by which a system names one of its sessions (RFC 5880 section 6.3). On the wire zero means "not
/// known yet".
pub type Discriminator = NonZeroU32;

/// State of a session, the Sta field (RFC 5880 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum State {
    /// Held down by an operator. Says nothing about the path.
    AdminDown,
    /// The path does not work, or the session is new.
    Down,
    /// The remote system is heard, and does not hear us yet as far as we know.
    Init,
    /// Both systems hear each other.
    Up,
}

impl State {
    const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Diagnostic code: a system's reason for the last change of its session state (RFC 5880 section 4.1), 0 to 31.
/// Serializes as its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diag(u8);

impl Diag {
    /// No diagnostic.
    pub const NONE: Self = Self(0);
    /// No packet came for a detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The remote system said that its session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// An operator holds the session down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// The code as it stands on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

impl Serialize for Diag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A BFD Control packet without authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last changed its state.
    pub diag: Diag,
    /// State of the sender's session.
    pub state: State,
    /// P bit: the sender asks for a packet with the F bit.
    pub poll: bool,
    /// F bit: the answer to a packet with the P bit.
    pub is_final: bool,
    /// C bit: the sender's BFD survives a failure of its control plane.
    pub control_plane_independent: bool,
    /// D bit: the sender wants no periodic packets.
    pub demand: bool,
    /// How many of the sender's packets may be missing in a row.
    pub detect_mult: NonZeroU8,
    /// The sender's name for the session.
    pub my_discriminator: Discriminator,
    /// The receiver's name for the session; `None` while the sender does not know it.
    pub your_discriminator: Option<Discriminator>,
    /// Interval at which the sender would like to transmit, in microseconds.
    pub desired_min_tx: u32,
    /// Least interval at which the sender can receive, in microseconds. 0: it wants no periodic packets.
    pub required_min_rx: u32,
    /// Least interval between Echo packets that the sender can return, in microseconds. 0: none.
    pub required_min_echo_rx: u32,
}

/// Why bytes are not a BFD Control packet that we may act on (RFC 5880 section 6.8.6, in its order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the mandatory section.
    #[error("shorter than 24 octets")]
    Truncated,
    /// The protocol version is not 1.
    #[error("version is not 1")]
    Version,
    /// The Length field is less than the least possible value, or more than what arrived.
    #[error("bad length field")]
    Length,
    /// Detect Mult is zero.
    #[error("detect multiplier is 0")]
    DetectMult,
    /// The M bit is set.
    #[error("multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("my discriminator is 0")]
    MyDiscriminator,
    /// Your Discriminator is zero although the state is Init or Up: only a system that heard us can be in those.
    #[error("your discriminator is 0 in state Init or Up")]
    YourDiscriminator,
    /// The A bit is set: authentication is not in use here.
    #[error("authentication is not in use")]
    Authentication,
}

impl Packet {
    /// Reads a packet from a UDP payload. Octets after the packet's own length are ignored.
    ///
    /// # Errors
    /// The first check of RFC 5880 section 6.8.6 that fails. Such a packet must be discarded.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (packet, _) = payload.split_first_chunk::<PACKET_LEN>().ok_or(DecodeError::Truncated)?;
        let [version_diag, flags, detect_mult, length, rest @ ..] = *packet;
        if version_diag >> 5 != VERSION {
            return Err(DecodeError::Version);
        }
        let authentication = flags & AUTHENTICATION != 0;
        let least = if authentication { PACKET_LEN + AUTHENTICATION_MIN_LEN } else { PACKET_LEN };
        if usize::from(length) < least || usize::from(length) > payload.len() {
            return Err(DecodeError::Length);
        }
        let detect_mult = NonZeroU8::new(detect_mult).ok_or(DecodeError::DetectMult)?;
        if flags & MULTIPOINT != 0 {
            return Err(DecodeError::Multipoint);
        }
        let word =
            |n: usize| u32::from_be_bytes([rest[4 * n], rest[4 * n + 1], rest[4 * n + 2], rest[4 * n + 3]]);
        let my_discriminator = Discriminator::new(word(0)).ok_or(DecodeError::MyDiscriminator)?;
        let your_discriminator = Discriminator::new(word(1));
        let state = State::from_bits(flags >> STATE_SHIFT);
        if your_discriminator.is_none() && matches!(state, State::Init | State::Up) {
            return Err(DecodeError::YourDiscriminator);
        }
        if authentication {
            return Err(DecodeError::Authentication);
        }
        Ok(Self {
            diag: Diag(version_diag & 0x1f),
            state,
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx: word(2),
            required_min_rx: word(3),
            required_min_echo_rx: word(4),
        })
    }

    /// The packet as a UDP payload.
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; PACKET_LEN];
        bytes[0] = VERSION << 5 | self.diag.0;
        bytes[1] = (self.state as u8) << STATE_SHIFT
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        bytes[2] = self.detect_mult.get();
        bytes[3] = PACKET_LEN as u8;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, Discriminator::get),
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (slot, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

const VERSION: u8 = 1;
const STATE_SHIFT: u8 = 6;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;
/// Auth Type and Auth Len.
const AUTHENTICATION_MIN_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Up, multiplier 5, 0x01020304 to 0x0a0b0c0d, 300 ms both ways.
    const UP: [u8; 24] =
        [0x20, 0xc0, 5, 24, 1, 2, 3, 4, 10, 11, 12, 13, 0, 4, 0x93, 0xe0, 0, 4, 0x93, 0xe0, 0, 0, 0, 0];

    fn with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = UP.to_vec();
        for &(at, value) in changes {
            bytes[at] = value;
        }
        bytes
    }

    #[test]
    fn packet_reads_as_drawn_in_the_rfc() {
        let packet = Packet::decode(&UP).unwrap();
        assert_eq!(packet.state, State::Up);
        assert_eq!(packet.diag, Diag::NONE);
        assert_eq!(packet.detect_mult.get(), 5);
        assert_eq!(packet.my_discriminator.get(), 0x0102_0304);
        assert_eq!(packet.your_discriminator.map(Discriminator::get), Some(0x0a0b_0c0d));
        assert_eq!(
            (packet.desired_min_tx, packet.required_min_rx, packet.required_min_echo_rx),
            (300_000, 300_000, 0)
        );
        assert!(!packet.poll && !packet.is_final && !packet.control_plane_independent && !packet.demand);
        let flags = Packet::decode(&with(&[(1, 0xfa)])).unwrap();
        assert!(flags.poll && flags.is_final && flags.control_plane_independent && flags.demand);
    }

    #[test]
    fn every_check_of_section_6_8_6_discards() {
        let cases: [(Vec<u8>, DecodeError); 12] = [
            (UP[..23].to_vec(), DecodeError::Truncated),
            (Vec::new(), DecodeError::Truncated),
            (with(&[(0, 0x00)]), DecodeError::Version),
            (with(&[(0, 0x40)]), DecodeError::Version),
            (with(&[(3, 23)]), DecodeError::Length),
            (with(&[(3, 25)]), DecodeError::Length),
            (with(&[(1, 0xc4), (3, 24)]), DecodeError::Length),
            (with(&[(2, 0)]), DecodeError::DetectMult),
            (with(&[(1, 0xc1)]), DecodeError::Multipoint),
            (with(&[(4, 0), (5, 0), (6, 0), (7, 0)]), DecodeError::MyDiscriminator),
            (with(&[(8, 0), (9, 0), (10, 0), (11, 0)]), DecodeError::YourDiscriminator),
            ([with(&[(1, 0xc4), (3, 26)]), vec![1, 2]].concat(), DecodeError::Authentication),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(Packet::decode(&bytes), Err(wanted), "{bytes:02x?}");
        }
        let unknown_but_down = with(&[(1, 0x40), (8, 0), (9, 0), (10, 0), (11, 0)]);
        assert_eq!(Packet::decode(&unknown_but_down).map(|p| p.your_discriminator), Ok(None));
        assert!(Packet::decode(&[&UP[..], &[0; 8]].concat()).is_ok(), "padding after the packet is no error");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_round_trips(mut bytes in prop::collection::vec(any::<u8>(), 0..64), plausible: bool) {
            if plausible && bytes.len() >= PACKET_LEN {
                bytes[0] = 0x20 | bytes[0] & 0x1f;
                bytes[1] &= 0xfa;
                bytes[3] = 24;
            }
            if let Ok(packet) = Packet::decode(&bytes) {
                prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            }
        }
    }
}
