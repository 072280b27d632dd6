//! Where the objects come from: a folder of YAML (later also a cluster).
