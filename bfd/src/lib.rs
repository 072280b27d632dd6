//! BFD (RFC 5880, 5881, 5882): a pure session machine and a UDP driver.

mod endpoint;
mod negotiation;
mod packet;
mod session;
mod view;

pub use endpoint::{Datagram, Discard, Endpoint, Event, SessionConfig, SessionKey, Transmit};
pub use packet::{DecodeError, Diag, Discriminator, PACKET_LEN, Packet, State};
pub use session::{Change, Config, Session};
pub use view::{SessionView, View};
