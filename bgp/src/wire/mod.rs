//! The BGP-4 messages as bytes.
