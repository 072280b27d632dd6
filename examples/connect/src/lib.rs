//! Traffic in the protocol of mconnect: who answers at an address, and how often.
//!
//! Over TCP the server writes its host name as soon as it accepts; over UDP the client sends `Hello` and the server
//! answers with its host name. The client makes many connections and counts the answers by host.

pub mod client;
pub mod duration;
pub mod flags;
pub mod options;
pub mod probe;
mod progress;
pub mod report;
pub mod server;
pub mod signals;
pub mod source;
