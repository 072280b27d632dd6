//! Labs: real daemons in network namespaces.
