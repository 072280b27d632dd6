//! BFD (RFC 5880, 5881, 5882) in asynchronous mode: notices within a few packets that the path to a neighbour is gone.
//!
//! The pure half always builds and has neither socket nor clock: [`Session`] is the state machine of one session,
//! [`Endpoint`] holds all of them. Both take the time as an argument. With the feature `driver`, [`driver::spawn`]
//! starts a thread that runs an endpoint over UDP.
//!
//! The user of a session decides by its [`Change`]: from Up to Down means that the path failed, unless
//! [`remote_admin_down`](Change::remote_admin_down) says that the neighbour's operator switched BFD off.
//!
//! Not here: Echo and Demand mode of our own, authentication, multihop.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use l34_bfd::{Config, Datagram, Endpoint, SessionConfig, SessionKey, State};
//!
//! let now = Instant::now();
//! let config = Config {
//!     desired_min_tx: Duration::from_millis(300),
//!     required_min_rx: Duration::from_millis(300),
//!     detect_mult: 5.try_into()?,
//!     passive: false,
//! };
//! let key = SessionKey { remote: "192.0.2.2".parse()?, interface: "vlan-100".to_owned() };
//! let mut endpoint = Endpoint::new(fastrand::Rng::with_seed(1));
//! endpoint.configure(now, vec![SessionConfig { key, local: Some("192.0.2.1".parse()?), config }]);
//!
//! let first = endpoint.poll_transmit().ok_or("an active session calls first")?;
//! assert_eq!(first.packet.state, State::Down);
//! let payload = first.packet.encode();
//! // Send it; hand in what comes back; then sleep until `endpoint.poll_timeout()`.
//! let (remote, local) = ("192.0.2.2".parse()?, Some("192.0.2.1".parse()?));
//! let datagram = Datagram { interface: "vlan-100", remote, local, ttl: Some(255), payload: &payload };
//! assert!(endpoint.handle_datagram(now, datagram).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
#[cfg(feature = "driver")]
pub mod driver;
mod endpoint;
mod negotiation;
mod packet;
mod remote;
mod session;
mod view;

pub use config::Config;
pub use endpoint::{Datagram, Discard, Endpoint, Event, SessionConfig, SessionKey, Transmit};
pub use packet::{DecodeError, Diag, Discriminator, PACKET_LEN, Packet, State};
pub use session::{Change, Session};
pub use view::{SessionView, View};
