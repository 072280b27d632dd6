"""Gateways side by side, between one client and one host with all endpoints. All is gone when the `with` block ends.

                 .- gateway 1: VIPs 20.1.0.0/16 -.
        client --+- gateway 2: VIPs 20.2.0.0/16 -+-- endpoints
                 '- ...                         -'
"""
import json
import os
import subprocess
from pathlib import Path

from harness import world as w

PREFIX = "lv-"
ENDPOINTS = 10
PORT, TARGET_PORT = 4000, 5000
MARK = "0x4c000000/0xff000000"


class Ways:
    """`plain` is the load tool; gateways are added by the functions below, and number themselves from 1."""

    def __init__(self, tool):
        self.tool, self.gateways = tool, []
        prefix = f"{PREFIX}{os.getpid()}-"
        self.client, self.server, self.prefix = prefix + "client", prefix + "server", prefix
        self.names = []

    def __enter__(self):
        try:
            for name in (self.client, self.server):
                self._namespace(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            w._remove(name)

    def _namespace(self, name):
        self.names.append(name)
        w.run("ip", "netns", "add", name)
        w.run("ip", "-n", name, "link", "set", "lo", "up")

    def _gateway(self, name, vips):
        """A gateway that forwards and has no rules yet. Returns its number and namespace."""
        number = len(self.gateways) + 1
        namespace = f"{self.prefix}gw{number}"
        self._namespace(namespace)
        for link, other, net in (("out", self.client, 61), ("in", self.server, 62)):
            w.run("ip", "link", "add", link, "netns", namespace, "type", "veth", "peer", "name", f"gw{number}", "netns", other)
            w.run("ip", "-n", namespace, "addr", "add", f"10.{net}.{number}.254/24", "dev", link)
            w.run("ip", "-n", namespace, "link", "set", link, "up")
            w.run("ip", "-n", other, "link", "set", f"gw{number}", "up")
        w.run("ip", "-n", self.client, "addr", "add", f"10.61.{number}.1/24", "dev", f"gw{number}")
        for address in endpoints(number):
            w.run("ip", "-n", self.server, "addr", "add", f"{address}/24", "dev", f"gw{number}")
        w.run("ip", "-n", self.client, "route", "add", f"20.{number}.0.0/16", "via", f"10.61.{number}.254")
        self.inside(namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
                    "net.ipv4.conf.out.rp_filter=0", "net.ipv4.conf.in.rp_filter=0")
        self.gateways.append((name, number, vips))
        return number, namespace

    def linked(self):
        """A gateway without rules, whose changes of next hops are silent, as the router sets it. Returns its namespace."""
        _, namespace = self._gateway("", 0)
        self.inside(namespace, "sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0")
        return namespace

    def inside(self, namespace, *command, **options):
        return w.run("nsenter", f"--net=/run/netns/{namespace}", *command, **options)

    def _ip_rules(self, namespace):
        for priority, table in (("100", "4096"), ("101", "4097")):
            self.inside(namespace, "ip", "rule", "add", "priority", priority, "fwmark", MARK, "lookup", table)

    def _tracking(self, namespace):
        # What a test client leaves behind must not fill the connection table, with any of the gateways.
        self.inside(namespace, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=1",
                    "net.netfilter.nf_conntrack_tcp_be_liberal=1")

    def ours(self, name, services, protocol):
        """The router's table, its two rules, and the learned route back to the client."""
        number, namespace = self._gateway(name, services)
        self._ip_rules(namespace)
        self.inside(namespace, "ip", "route", "add", "blackhole", "default", "table", "4097")
        self.inside(namespace, "ip", "route", "add", "default", "via", f"10.61.{number}.1", "table", "4096")
        self.fill(namespace, f"20.{number}.0.1", services, endpoints(number)[0], protocol)
        self._tracking(namespace)

    def fill(self, namespace, vip, services, endpoint, protocol="tcp"):
        """The router's table. Returns how long that took."""
        return json.loads(self.inside(namespace, self.tool, "table", "--first", f"{vip}:{PORT}", "--services", services, "--protocol", protocol,
                                      "--endpoint", f"{endpoint}:{TARGET_PORT}", "--endpoints", ENDPOINTS, "--outside", "out"))

    def ruled(self, name, vips, ruleset, rules=False):
        """What somebody else would load, as a function of the gateway's number; `rules` adds the router's two."""
        number, namespace = self._gateway(name, vips)
        self.inside(namespace, "nft", "-f", "-", input=ruleset(number))
        if rules:
            self._ip_rules(namespace)
        self._tracking(namespace)

    def routed(self, name):
        """No rules: VIPs of its own are addresses of the endpoints' host."""
        number, _ = self._gateway(name, ENDPOINTS)
        namespace = f"{self.prefix}gw{number}"
        for n in range(ENDPOINTS):
            w.run("ip", "-n", self.server, "addr", "add", f"20.{number}.0.{n + 1}/32", "dev", "lo")
        w.run("ip", "-n", namespace, "route", "add", f"20.{number}.0.0/16", "via", endpoints(number)[0])
        w.run("ip", "-n", self.server, "route", "replace", f"10.61.{number}.0/24", "via", f"10.62.{number}.254")

    def play(self, what, rounds, slice_ms, parallel):
        """Sends through all gateways in turn. Returns {gateway: [slice of each round]}."""
        targets, listen = [], []
        for name, number, vips in self.gateways:
            port = TARGET_PORT if name == ROUTED else PORT
            targets += ["--target", f"{name}=20.{number}.0.1:{port}/{vips}"]
            addresses = endpoints(number) + ([f"20.{number}.0.{n + 1}" for n in range(ENDPOINTS)] if name == ROUTED else [])
            listen += [word for address in addresses for word in ("--listen", f"{address}:{TARGET_PORT}")]
        # The highest cores: interrupts of the machine mostly go to the first one.
        cores = sorted(os.sched_getaffinity(0))
        command = [str(self.tool), what, "--client", self.client, "--server", self.server, "--client-core", str(cores[-1]),
                   "--server-core", str(cores[0]), "--rounds", str(rounds), "--slice-ms", str(slice_ms), "--parallel", str(parallel)]
        done = subprocess.run(["setpriv", "--pdeathsig", "KILL"] + command + targets + listen, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"plane-load {what} failed")
        slices = {}
        for line in done.stdout.splitlines():
            slice = json.loads(line)
            slices.setdefault(slice.pop("target"), []).append(slice)
        return slices


ROUTED = "routing only"


def endpoints(number):
    return [f"10.62.{number}.{n + 1}" for n in range(ENDPOINTS)]


def one_rule(protocol):
    """The least that carries the traffic: one rule, one endpoint, and masquerade."""
    return lambda number: f"""table ip one {{
        chain in {{ type nat hook prerouting priority dstnat
            ip daddr 20.{number}.0.0/16 {protocol} dport {PORT} dnat to {endpoints(number)[0]}:{TARGET_PORT}; }}
        chain out {{ type nat hook postrouting priority srcnat
            ct status dnat masquerade; }}
    }}"""


def one_rule_spread(protocol):
    """One rule that does what a Service asks for: any of the endpoints, source ports that cannot be foreseen."""
    def ruleset(number):
        slots = ", ".join(f"{n} : {address} . {TARGET_PORT}" for n, address in enumerate(endpoints(number)))
        return f"""table ip one {{
            chain in {{ type nat hook prerouting priority dstnat
                ip daddr 20.{number}.0.0/16 {protocol} dport {PORT} dnat ip to numgen random mod {ENDPOINTS} map {{ {slots} }}; }}
            chain out {{ type nat hook postrouting priority srcnat
                ct status dnat masquerade fully-random; }}
        }}"""
    return ruleset


def chains(services, protocol):
    """As kube-proxy's nftables mode: chains for each service and each of its endpoints, masquerade by mark."""
    def ruleset(number):
        lines = ["table ip kube-proxy {",
                 "chain mark-for-masquerade { meta mark set meta mark or 0x4000; }",
                 "chain masquerading { meta mark and 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade fully-random; }"]
        elements = []
        for n in range(services):
            for slot, address in enumerate(endpoints(number)):
                lines.append(f"chain endpoint-{n}-{slot} {{ ip saddr {address} jump mark-for-masquerade; meta l4proto {protocol} dnat to {address}:{TARGET_PORT}; }}")
            slots = ", ".join(f"{slot} : goto endpoint-{n}-{slot}" for slot in range(ENDPOINTS))
            lines.append(f"chain service-{n} {{ numgen random mod {ENDPOINTS} vmap {{ {slots} }}; }}")
            lines.append(f"chain external-{n} {{ jump mark-for-masquerade; goto service-{n}; }}")
            elements.append(f"{w.address(f'20.{number}.0.1', n)} . {protocol} . {PORT} : goto external-{n}")
        triple = "type ipv4_addr . inet_proto . inet_service : verdict"
        lines += [
            f"map service-ips {{ {triple}; elements = {{ {', '.join(elements)} }}; }}",
            f"map no-endpoint-services {{ {triple}; }}",
            f"map firewall-ips {{ {triple}; }}",
            "set cluster-ips { type ipv4_addr; }",
            "chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }",
            "chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }",
            "chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }",
            "chain cluster-ips-check { ip daddr @cluster-ips reject; }",
            "chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }",
            "chain nat-output { type nat hook output priority -100; jump services; }",
            "chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }",
            "chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }",
            "chain filter-input { type filter hook input priority -110; ct state new jump service-endpoints-check; }",
            "chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }",
            "chain filter-output { type filter hook output priority -110; ct state new jump service-endpoints-check; ct state new jump firewall-check; }",
            "}"]
        return "\n".join(lines) + "\n"
    return ruleset


def sweep():
    """Removes what runs left behind that were killed."""
    for line in w.run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            w._remove(name)
