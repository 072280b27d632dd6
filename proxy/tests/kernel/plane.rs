//! The data plane on its thread: acknowledgements, repair, stale flows.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use l34_proxy::nftables::{Handle, spawn};
use l34_proxy::{DataPlane, Mode, Protocol, Snapshot, Status};

use crate::lab::{Lab, V4, V6, ask, wait_until};
use crate::{EMPTY, RANDOM, at, endpoints, entry, everything, key};

/// The data plane of the gateway, and every status that it published.
fn start(lab: &Lab) -> (Handle, Arc<Mutex<Vec<Arc<Status>>>>) {
    let history = Arc::new(Mutex::new(Vec::new()));
    let published = history.clone();
    let on_change = move |status: &Arc<Status>| published.lock().unwrap().push(status.clone());
    (lab.inside("gateway", || spawn(Mode::Services, on_change).unwrap()), history)
}

fn bring(plane: &Handle, wanted: &Snapshot) {
    let generation = plane.apply(Arc::new(wanted.clone()));
    wait_until("the snapshot in place", || plane.status().generation == generation);
}

#[test]
fn each_vip_is_acknowledged_as_soon_as_it_is_in_place() {
    let lab = Lab::new();
    let (plane, history) = start(&lab);
    let mut wanted = everything();
    // Enough for several transactions.
    for i in 1..=1000_u32 {
        let vip = std::net::Ipv4Addr::from(0x1400_0100 + i).to_string();
        wanted.vips.insert(vip.parse().unwrap());
        wanted.services.insert(key(&vip, Protocol::Tcp, 80), entry(endpoints(false, 11..=14)));
    }
    bring(&plane, &wanted);
    let status = plane.status();
    assert_eq!(status.vips.len(), 1002);
    assert_eq!(status.vips[&V4.parse().unwrap()].services, 8);
    assert_eq!(status.problem, None);
    let history = history.lock().unwrap();
    assert!(history.iter().any(|status| status.generation == 0 && (1..1002).contains(&status.vips.len())));
    assert!(history.windows(2).all(|pair| pair[0].vips.len() <= pair[1].vips.len()));
}

#[test]
fn what_someone_else_does_to_the_table_is_repaired() {
    let lab = Lab::new();
    let (plane, _) = start(&lab);
    bring(&plane, &everything());
    let damages = [
        "delete table ip l34",
        "flush ruleset",
        "flush map ip6 l34 services",
        "add rule ip l34 forward drop",
    ];
    for (done, damage) in damages.iter().enumerate() {
        lab.nft("gateway", damage);
        wait_until("the repair", || plane.status().repairs == done as u64 + 1);
        for vip in [V4, V6] {
            assert!(lab.tcp("client", &at(vip, RANDOM)).is_ok(), "{damage}");
        }
    }
    // What is not ours is not our business.
    lab.nft("gateway", "add table ip theirs");
    bring(&plane, &everything());
    assert_eq!(plane.status().repairs, damages.len() as u64);
}

#[test]
fn tables_stay_when_the_handle_is_dropped_and_go_when_all_is_removed() {
    let lab = Lab::new();
    let tables = || lab.command("gateway", "nft list tables").unwrap();
    let (plane, _) = start(&lab);
    bring(&plane, &everything());
    drop(plane);
    assert!(tables().contains("table ip l34") && tables().contains("table ip6 l34"));
    let (plane, _) = start(&lab);
    plane.remove_all().unwrap();
    assert_eq!(tables(), "");
}

#[test]
fn a_udp_flow_follows_the_table() {
    let lab = Lab::new();
    for (vip, v6) in [(V4, false), (V6, true)] {
        let to = at(vip, RANDOM);
        let socket = lab.udp_socket("client", &to);
        // Before there is a table, the flow goes by the default route, tracked (someone's rule needs that) but not
        // translated.
        let tracked =
            "table inet theirs { chain a { type filter hook forward priority 0; ct state new accept;\n}\n}";
        lab.nft("gateway", tracked);
        assert!(ask(&socket).is_err());
        let (plane, _) = start(&lab);
        let mut wanted = everything();
        let with = |which: &[u8]| entry(endpoints(v6, which.iter().copied()));
        let service = key(vip, Protocol::Udp, RANDOM);
        let step = |plane: &Handle, wanted: &Snapshot| {
            let before = plane.status().stale_flows_deleted;
            bring(plane, wanted);
            wait_until("stale flows deleted", || plane.status().stale_flows_deleted > before);
        };

        wanted.services.insert(service, with(&[11]));
        step(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap().endpoint.to_string(), endpoints(v6, [11])[0].to_string());

        // Another endpoint comes: the flow stays where it is.
        wanted.services.insert(service, with(&[11, 12]));
        bring(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap().endpoint, endpoints(v6, [11])[0]);

        // Its endpoint leaves.
        wanted.services.insert(service, with(&[12]));
        step(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap().endpoint, endpoints(v6, [12])[0]);

        // The last endpoint leaves, another comes, the service goes, it comes back, and the VIP goes.
        wanted.services.insert(service, with(&[]));
        step(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        wanted.services.insert(service, with(&[13]));
        bring(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap().endpoint, endpoints(v6, [13])[0]);
        wanted.services.remove(&service);
        step(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        wanted.services.insert(service, with(&[14]));
        bring(&plane, &wanted);
        assert_eq!(ask(&socket).unwrap().endpoint, endpoints(v6, [14])[0]);
        wanted.vips.remove(&vip.parse().unwrap());
        step(&plane, &wanted);
        plane.remove_all().unwrap();
    }
}

#[test]
fn a_connection_that_nobody_answers_turns_to_an_endpoint_that_lives() {
    for (vip, v6) in [(V4, false), (V6, true)] {
        let lab = Lab::new();
        let (plane, _) = start(&lab);
        let mut wanted = everything();
        let service = key(vip, Protocol::Tcp, RANDOM);
        wanted.services.insert(service, entry(endpoints(v6, [11])));
        bring(&plane, &wanted);
        // An endpoint on a node without power: not even a reset.
        let family = if v6 { "ip6" } else { "ip" };
        let dead = endpoints(v6, [11])[0].ip();
        lab.nft(
            "endpoints",
            &format!(
                "table inet count {{ chain dead {{ type filter hook prerouting priority -300;
                {family} daddr {dead} meta l4proto tcp counter drop;\n}}\n}}"
            ),
        );
        let to = at(vip, RANDOM).parse().unwrap();
        let connected = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                // Its SYNs go out at once, after a second, and after three.
                lab.inside("client", || TcpStream::connect_timeout(&to, Duration::from_secs(6)))
            });
            wait_until("the first SYN", || lab.counted("endpoints") > 0);
            wanted.services.insert(service, entry(endpoints(v6, [12])));
            // Another service never comes to rest: it must not keep the dead connection.
            let restless = key(vip, Protocol::Tcp, EMPTY);
            for which in [11, 12].into_iter().cycle() {
                wanted.services.insert(restless, entry(endpoints(v6, [which])));
                bring(&plane, &wanted);
                if connecting.is_finished() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            connecting.join().unwrap()
        });
        let mut answer = String::new();
        connected.unwrap().read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&endpoints(v6, [12])[0].to_string()), "{answer}");
    }
}
