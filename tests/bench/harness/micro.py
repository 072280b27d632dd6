"""Parts of the router alone, each beside the tool that one would use instead, and the load tool against itself."""
import re
import time

from . import machine, world as w
from .load import Load
from .scenarios import Turn, ms, seconds
from .speakers import ours
from .speakers.speaker import said

ROUTES = 100_000
SERVICES = (1, 1000, 10_000)
ENDPOINTS = 10
UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
TIME = r"([\d.]+)(ns|µs|ms|s)\b"


def fib(_tool, routes=ROUTES):
    """Routes into the kernel: our reconciler with next-hop groups, and `ip -batch` with next hops in each route."""
    return [
        ("l34-kernel", ours.Router.version(), lambda: measured(lambda world: fib_ours(world, routes))),
        ("ip -batch", said("ip", "-V").split("iproute2-")[-1], lambda: measured(lambda world: fib_ip(world, routes))),
    ]


def fib_ours(world, routes):
    text = world.run(world.speaker, ours.BIN / "examples" / "fib_bench", routes)
    found = {line[:line.index("  ")].strip(): times(line) for line in text.splitlines() if "  " in line}
    one, p99 = found["one route, to report"]
    return dict(one_us=micros(one), one_p99_us=micros(p99), added_ms=millis(found[f"{routes} routes added"][0]),
                changed_ms=millis(found[f"{routes} routes next hops changed"][0]),
                withdrawn_ms=millis(found[f"{routes} routes withdrawn"][0]))


def fib_ip(world, routes):
    for n in (1, 2):
        w.run("ip", "-n", world.speaker, "link", "add", f"net{n}", "type", "veth", "peer", "name", f"end{n}")
        for link in (f"end{n}", f"net{n}"):
            w.run("ip", "-n", world.speaker, "link", "set", link, "up")
        w.run("ip", "-n", world.speaker, "addr", "add", f"10.0.{n}.254/24", "dev", f"net{n}")
    prefixes = [w.address("20.0.0.0", n << 8) + "/24" for n in range(routes)]

    def batch(verb, last):
        hops = f" nexthop via 10.0.1.{last} dev net1 nexthop via 10.0.2.{last} dev net2" if last else ""
        lines = "".join(f"route {verb} {prefix} table 4096{hops}\n" for prefix in prefixes)
        begun = machine.now()
        w.run("ip", "-n", world.speaker, "-batch", "-", input=lines)
        return ms(machine.now() - begun)

    return dict(added_ms=batch("add", 1), changed_ms=batch("replace", 2), withdrawn_ms=batch("del", None))


def nft(_tool):
    """The service table: ours over netlink, and a chain for each service with `nft -f`, as kube-proxy does it."""
    return [
        ("l34-proxy", ours.Router.version(), lambda: measured(nft_ours)),
        ("nft -f, chains", said("nft", "--version").split()[1], lambda: measured(nft_chains)),
    ]


def nft_ours(world):
    figures = {}
    for line in world.run(world.speaker, ours.BIN / "examples" / "nft_bench", 500).splitlines():
        words = re.match(r"\s*(\d+)\s+(\D.*?)\s+" + TIME, line)
        if words is None:
            continue
        services, what, p50 = words[1], words[2], times(line)[0]
        if what == "one endpoint replaced":
            figures[f"swap_{services}_us"] = micros(p50)
        elif what == "full load":
            figures[f"load_{services}_ms"] = millis(p50)
    return figures


def nft_chains(world):
    """Table, a chain for each service, a verdict map from VIP and port to it; endpoints at random."""
    figures = {}
    for services in SERVICES:
        chains = "".join(service_chain(n, 0) for n in range(services))
        members = ", ".join(f"{w.address('20.0.0.1', n)} . tcp . 4000 : goto s{n}" for n in range(services))
        ruleset = (f"table ip ref {{\n{chains}map services {{\ntype ipv4_addr . inet_proto . inet_service : verdict\n"
                   f"elements = {{ {members} }}\n}}\nchain in {{\ntype nat hook prerouting priority -100\n"
                   "ip daddr . meta l4proto . th dport vmap @services\n}\n}\n")
        figures[f"load_{services}_ms"] = timed(world, ruleset)
        swaps = [timed(world, f"flush chain ip ref s{services // 2}\ntable ip ref {{\n{service_chain(services // 2, round)}}}\n")
                 for round in range(1, 21)]
        figures[f"swap_{services}_us"] = round(sorted(swaps)[len(swaps) // 2] * 1e3, 1)
        world.run(world.speaker, "nft", "delete", "table", "ip", "ref")
    return figures


def service_chain(n, round):
    targets = ", ".join(f"{e} : {w.address('10.0.0.1', e + round % 2)} . 5000" for e in range(ENDPOINTS))
    return f"chain s{n} {{\nmeta l4proto tcp dnat ip to numgen random mod {ENDPOINTS} map {{ {targets} }}\n}}\n"


def timed(world, ruleset):
    begun = time.monotonic()
    world.run(world.speaker, "nft", "-f", "-", input=ruleset)
    return round((time.monotonic() - begun) * 1e3, 3)


def ceiling(tool, prefixes=1_000_000):
    """A source straight into a sink: what the load tool itself takes."""
    def play():
        with w.World(0, 1) as world:
            turn = Turn(None, tool)
            sink = Load(world, tool, namespace=world.speaker, speaker=w.FIRST_SOURCE, speaker_as=w.SOURCE_AS, cpu=0, listen=True,
                        sinks=1, first_sink=w.SPEAKER_IP, sink_as=w.SPEAKER_AS, table=prefixes)
            source = Load(world, tool, sources=1, table=prefixes)
            turn.quiet(sink.process.pid, source.process.pid)
            sink.do("connect")
            source.connect()
            begun = source.do("feed 0")
            complete = sink.wait("complete", 60)
            _, sink_cpu_s = sink.sinks()
            figures = dict(complete_s=seconds(complete["last"] - begun), tool_cpu_s=[round(sink_cpu_s, 3), round(source.stats()["cpu_s"], 3)])
            return figures, turn.others.cores()
    return [("bgp-load", ours.Router.version(), play)]


def measured(play):
    """Plays it in a namespace of its own, with others' use of the machine."""
    with w.World() as world:
        machine.wait_quiet()
        others = machine.Others([])
        return play(world), others.cores()


def times(line):
    return [float(value) * UNITS[unit] for value, unit in re.findall(TIME, line)]


def micros(value):
    return round(value * 1e6, 1)


def millis(value):
    return round(value * 1e3, 2)
