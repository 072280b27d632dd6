//! BFD (RFC 5880, 5881, 5882): a pure session machine and a UDP driver.
