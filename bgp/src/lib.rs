//! BGP-4 speaker: a pure core and a tokio driver.
