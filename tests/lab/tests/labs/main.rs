//! The labs: the product and the BGP library against real routers. One module per scenario, each with its picture.

mod bench_adapter;
mod bfd_address;
mod bfd_restart;
mod bfd_source;
mod no_transit;
mod on_link;
mod probes;
mod router_auth;
mod router_pod;
mod router_restart;
mod scene;
mod speaker_interop;
mod speaker_reach;
mod speaker_restart;
mod speaker_security;
mod tcp;
mod traffic;
mod vpn_bfd;
mod vpn_bird;
mod vpn_others;
mod vpn_static;
mod way_back;
