//! A kernel in which something is missing, or allows less than is needed: a filter of system calls refuses it as such a
//! kernel would. The router says what is missing, by the option of the kernel, and what follows from it.

use l34_lab::{Lab, Netns, Router, wait_until};
use std::io;
use std::process::Output;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../../examples/kpng-gateway-api.yaml");
const MD5: &str = include_str!("../../../../examples/md5.yaml");
const SOON: Duration = Duration::from_secs(20);

/// A system call that a kernel without a feature refuses: its number, values of arguments, and the error.
struct Refusal {
    call: libc::c_long,
    arguments: [(u32, i32); 2],
    error: i32,
}

/// A kernel without CONFIG_NF_TABLES, and with it without netfilter's netlink.
const WITHOUT_NFTABLES: Refusal = Refusal {
    call: libc::SYS_socket,
    arguments: [(0, libc::AF_NETLINK), (2, libc::NETLINK_NETFILTER)],
    error: libc::EPROTONOSUPPORT,
};

/// A kernel without CONFIG_TCP_MD5SIG.
const WITHOUT_MD5: Refusal = Refusal {
    call: libc::SYS_setsockopt,
    arguments: [(1, libc::IPPROTO_TCP), (2, libc::TCP_MD5SIG)],
    error: libc::ENOPROTOOPT,
};

/// Runs `body`, and what it starts, on such a kernel.
#[track_caller]
fn on_a_kernel(without: &Refusal, body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            filter(without).expect("a filter of system calls");
            body();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Installs the filter for this thread and all that it starts.
fn filter(refusal: &Refusal) -> io::Result<()> {
    let code = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let load = |offset| code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, offset);
    let answer = |action| code(libc::BPF_RET | libc::BPF_K, 0, action);
    // struct seccomp_data: the number, architecture and address, and from 16 on the arguments, 64 bits each.
    let arguments = refusal.arguments.map(|(index, value)| (16 + 8 * index, value as u32));
    let wanted = [(0, refusal.call as u32), arguments[0], arguments[1]];
    let mut program = Vec::new();
    for (index, (offset, value)) in wanted.into_iter().enumerate() {
        // Another value: over what is left to compare and the refusal.
        let left = 2 * (wanted.len() - index - 1) + 1;
        program.extend([load(offset), code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, left as u8, value)]);
    }
    program.extend([answer(libc::SECCOMP_RET_ERRNO | refusal.error as u32), answer(libc::SECCOMP_RET_ALLOW)]);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the program lives through the call, and its length is its own; the kernel copies it.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs the router to its end, behind `wrapper`.
#[track_caller]
fn output(netns: &Netns, wrapper: &[&str], args: &str) -> Output {
    let binary = Router::binary();
    let words: Vec<&str> = wrapper.iter().copied().chain([binary.as_str()]).chain(args.split(' ')).collect();
    netns.command(words[0]).args(&words[1..]).output().expect("it starts")
}

/// The router ends by itself, with this and nothing else to say.
#[track_caller]
fn ends_with(lab: &Lab, wrapper: &[&str], sentence: &str) {
    let host = lab.host("gateway");
    let folder = lab.folder("manifests").display().to_string();
    let socket = lab.file("router.sock").display().to_string();
    let args = format!("run --gateway my-kpng-gateway --manifests {folder} --admin {socket}");
    let ended = output(&host.netns, wrapper, &args);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), format!("l34-router: {sentence}\n"));
}

#[test]
fn without_nftables_the_router_ends_with_a_sentence_and_check_names_the_option() {
    on_a_kernel(&WITHOUT_NFTABLES, || {
        let lab = Lab::new();
        let cause = "this kernel has no nftables (CONFIG_NF_TABLES): Protocol not supported (os error 93)";
        ends_with(&lab, &[], &format!("cannot use nftables: {cause}"));
        let check = output(&lab.host("node").netns, &[], "check");
        let said = String::from_utf8_lossy(&check.stdout);
        let line =
            format!("✗ nftables tables with NAT, sets and maps, IPv4: {cause}; no IPv4 VIP is served or");
        assert!(said.contains(&line) && !check.status.success(), "{said}");
    });
}

#[test]
fn without_md5_the_peers_with_a_key_alone_stay_down_and_say_why() {
    on_a_kernel(&WITHOUT_MD5, || {
        let lab = Lab::new();
        let check = output(&lab.host("node").netns, &[], "check");
        let said = String::from_utf8_lossy(&check.stdout);
        let line = "peers with spec.bgp.auth stay down; the kernel needs CONFIG_TCP_MD5SIG (not needed)";
        assert!(said.contains(line) && check.status.success(), "{said}");

        let host = lab.host("gateway");
        lab.segment().attach(&host, "vlan-100", &["169.254.100.2/24"]);
        let manifests = [("example.yaml", EXAMPLE), ("md5.yaml", MD5)];
        let router = Router::start(&lab, &host, "my-kpng-gateway", &manifests, "");
        wait_until(SOON, "the peer with a key says what is missing", || {
            let peers = router.show("peers");
            let is_said = |peer: &serde_json::Value| {
                peer["router"].as_str().is_some_and(|name| name.ends_with("gateway-v4-md5"))
                    && peer["reason"] == "this kernel has no TCP MD5 (CONFIG_TCP_MD5SIG)"
            };
            let all = peers["peers"].as_array().cloned().unwrap_or_default();
            if all.len() == 2 && all.iter().any(is_said) { Ok(()) } else { Err(peers.to_string()) }
        });
    });
}

#[test]
fn without_the_right_to_change_routes_the_router_ends_with_a_sentence() {
    let lab = Lab::new();
    let wrapper = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    ends_with(
        &lab,
        &wrapper,
        "not allowed to change routes in this network namespace; CAP_NET_ADMIN is needed",
    );
    let check = output(&lab.host("node").netns, &wrapper, "check");
    let said = String::from_utf8_lossy(&check.stdout);
    let line =
        "? next-hop objects and groups: not permitted without CAP_NET_ADMIN; run this as root on the node";
    assert!(said.contains(line) && !check.status.success(), "{said}");
}
