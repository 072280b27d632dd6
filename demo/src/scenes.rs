//! The demo from its first line to its last.

use crate::network::{NETWORKS, Network};
use crate::screen::{bold, command, dim, step};
use crate::{kept, live, signals, targets};
use l34_lab::Lab;
use std::time::Duration;

/// Plays all scenes; what fails panics with words.
pub(crate) fn play(keep: bool) {
    let lab = Lab::new();
    // On a signal nothing is dropped, so the folder is noted.
    if let Some(folder) = lab.file("manifests").parent() {
        signals::remove_at_end(folder.to_owned());
    }
    headline();
    let networks = rise(&lab);
    tables(&networks);
    peers(&networks);
    networks.iter().for_each(targets::traffic);
    live_vip(&networks[0]);
    if keep {
        kept::stay(&networks);
    }
    println!("\n  Everything is gone again. To look around yourself: {}\n", bold("make demo KEEP=1"));
}

fn headline() {
    println!(
        "\n  {}\n",
        bold("L34 Gateway: VIPs of YAML files in the tables of real bird2 routers, and traffic to them")
    );
    for network in &NETWORKS {
        let families = match (network.ipv4, network.ipv6) {
            (true, true) => "IPv4 + IPv6",
            (false, true) => "IPv6",
            _ => "IPv4",
        };
        let picture = format!("{}  bird2 AS 4248829953 ──── two l34-router, AS 8103", network.name);
        println!("    {picture}   {families:<13}{}", dim(network.example));
    }
    println!();
}

fn rise(lab: &Lab) -> Vec<Network> {
    let mut networks: Vec<Network> =
        step("vpn-a, vpn-b, vpn-c run bird2, configured as in the vpn containers", || {
            NETWORKS.iter().map(|network| Network::begin(lab, network)).collect()
        });
    step("two gateways before each run l34-router, fed from a folder of YAML", || {
        networks.iter_mut().for_each(|network| network.add_gateways(lab));
    });
    let sessions: usize = networks.iter().map(Network::sessions).sum();
    step(&format!("all {sessions} BGP sessions are Established"), || {
        networks.iter_mut().for_each(Network::wait_for_sessions);
    });
    step("every VIP is in bird's table and in the vpn's kernel, over both gateways", || {
        for network in &networks {
            network.is.vips.iter().for_each(|vip| network.wait_for_vip(vip));
        }
    });
    step("every gateway has bird's default route in its kernel, in table 4096", || {
        networks.iter().for_each(Network::wait_for_learned);
    });
    step(&format!("all {sessions} BFD sessions are Up: 300 ms x 5, a lost path is noticed in 1.5 s"), || {
        networks.iter().for_each(Network::wait_for_bfd);
    });
    networks
}

fn tables(networks: &[Network]) {
    for network in networks {
        command(network.is.name, "birdc show route", &network.bird.query("show route"));
    }
    // One kernel as an example: that each has its VIPs over both gateways was waited for.
    if let Some(network) = networks.first() {
        let what = format!("route show {}", network.is.vips[0]);
        command(network.is.name, &format!("ip {what}"), &network.vpn.ip(&what));
    }
}

fn peers(networks: &[Network]) {
    for network in networks {
        if let Some(gateway) = network.gateways.first() {
            command(&gateway.host.name, "l34-router show peers", &gateway.ask(&["show", "peers"]));
        }
    }
}

fn live_vip(network: &Network) {
    live::add(network);
    let shown = network.bird.query(&format!("show route {}/32", live::VIP));
    println!("\n  A Service with VIP {} is written into the watched folder as {}.", live::VIP, live::FILE);
    command(network.is.name, &format!("birdc show route {}/32", live::VIP), &shown);
    live::remove(network);
    let mut times = live::measure(network);
    println!("\n  Written and removed {} more times. From the folder to bird's table:\n", live::ROUNDS);
    for (what, times) in [("added", &mut times.added), ("removed", &mut times.removed)] {
        let median = live::median(times);
        let slowest = times.last().copied().unwrap_or_default();
        println!("    {what:<8} median {}   slowest {}", ms(median), ms(slowest));
    }
    let look = times.look.as_micros();
    let how = format!(
        "From before the write until bird's control socket shows the VIP over both gateways (or none).\n  \
         It is asked without a pause; one look costs {look} µs, and the last one's cost is taken off.\n  \
         A deleted file has 5 ms to come back (editors, git checkout) before it counts as removed.{}",
        if cfg!(debug_assertions) { "\n  The build is not optimised." } else { "" }
    );
    println!("\n  {}", dim(&how));
}

fn ms(time: Duration) -> String {
    format!("{:6.2} ms", time.as_secs_f64() * 1000.0)
}
