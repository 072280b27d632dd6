"""What is measured, with a speaker between sinks and sources that the load tool plays.

Each function plays one turn of one speaker and returns its figures: a number, or a list of single measurements. Times of the load
tool and ours are of one clock.
"""
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass

from . import machine, world as w
from .load import Load
from .route_watch import RouteWatch
from .speakers.bird import FarRouter
from .speakers.speaker import ROOT, Bfd, Setup

# Where `watch` prefixes lie: in no table.
FIRST_WATCHED = "30.0.0.0"
FIRST_VIP = "20.0.0.0"

# Where the sessions themselves are not what is measured: BIRD listens with a queue of 8, and what does not fit comes a
# second later.
AT_ONCE = 4


@dataclass
class Turn:
    """What every scenario gets: the speaker's class, the load tool, and a place to note others' use of the machine."""
    speaker: type
    tool: str
    others: object = None

    def quiet(self, *pids):
        """From here on it is measured."""
        machine.wait_quiet()
        self.others = machine.Others(pids)


@dataclass
class Bench:
    world: w.World
    speaker: object
    load: Load


def vips(count):
    return [w.address(FIRST_VIP, n) + "/32" for n in range(count)]


def watched(n):
    return w.address(FIRST_WATCHED, n) + "/32"


def ms(ns):
    return round(ns / 1e6, 3)


def seconds(ns):
    return round(ns / 1e9, 3)


@contextmanager
def bench(turn, setup, **load):
    """A speaker that listens and has settled, and the load tool, not yet connected."""
    with w.World(setup.sinks, setup.sources, root=ROOT) as world:
        speaker = turn.speaker(world)
        begun = machine.now()
        speaker.start(setup)
        speaker.wait_listening()
        speaker.settled = machine.wait_idle(speaker.pids) - begun
        tool = Load(world, turn.tool, sinks=setup.sinks, sources=setup.sources, hold_time=setup.hold_time, **load)
        turn.quiet(tool.process.pid, *speaker.pids)
        yield Bench(world, speaker, tool)


def s1(turn, sinks=1, base=10, changes=20):
    """One VIP announced and withdrawn with the operator's tool, until the last sink has the UPDATE."""
    figures = {key: [] for key in ("announce_ms", "withdraw_ms", "tool_ms")}
    with bench(turn, Setup(sinks=sinks, vips=vips(base)), vips=base, at_once=AT_ONCE) as b:
        b.load.connect()
        b.load.wait("complete", 120)
        machine.wait_idle(b.speaker.pids)
        turn.quiet(b.load.process.pid, *b.speaker.pids)
        for n in range(changes):
            for change in ("announce", "withdraw"):
                time.sleep(random.uniform(0.05, 0.2))
                if b.load.watch(change, watched(n)) != sinks:
                    raise RuntimeError("a session is gone")
                begun = machine.now()
                b.speaker.set_vip(watched(n), change == "announce")
                figures["tool_ms"].append(ms(machine.now() - begun))
                seen = b.load.wait("seen", prefix=watched(n))
                figures[change + "_ms"].append(ms(seen["last"] - begun))
        b.load.sinks()
        resident, peak = machine.memory_mib(b.speaker.pids)
    return figures | dict(rss_mib=resident, peak_mib=peak)


def s1r(turn, base=10, changes=20):
    """One more prefix relayed from a source to a sink: the speaker alone, without a tool."""
    figures = dict(announce_ms=[], withdraw_ms=[])
    with bench(turn, Setup(sinks=1, sources=1, relay=True), table=base) as b:
        b.load.connect()
        b.load.do("feed 0")
        b.load.wait("complete", 120)
        machine.wait_idle(b.speaker.pids)
        for n in range(changes):
            for change in ("announce", "withdraw"):
                time.sleep(random.uniform(0.05, 0.2))
                b.load.watch(change, watched(n))
                sent = b.load.do(f"{change} 0 {watched(n)}")
                seen = b.load.wait("seen", prefix=watched(n))
                figures[change + "_ms"].append(ms(seen["last"] - sent))
        b.load.sinks()
    return figures


def s2(turn, count=10_000, sinks=16):
    """VIPs that are configured at start, to all sinks: from the first session until all have the exact set."""
    with bench(turn, Setup(sinks=sinks, vips=vips(count)), vips=count, at_once=AT_ONCE) as b:
        loaded, before = machine.memory_mib(b.speaker.pids)[0], machine.cpu_ns(b.speaker.pids)
        established = b.load.connect()
        complete = b.load.wait("complete", 120)
        machine.wait_idle(b.speaker.pids)
        used = machine.cpu_ns(b.speaker.pids) - before
        told, tool_cpu_s = b.load.sinks()
        resident, peak = machine.memory_mib(b.speaker.pids)
        octets = sum(peer["octets_read"] for peer in b.load.stats()["peers"]) / sinks
        return dict(all_ms=ms(complete["last"] - established["first"]), first_sink_ms=ms(complete["first"] - established["first"]),
                    load_ms=ms(b.speaker.settled), cpu_s=seconds(used), loaded_mib=loaded, rss_mib=resident, peak_mib=peak,
                    updates_per_sink=told[0]["updates"], octets_per_sink=round(octets), tool_cpu_s=round(tool_cpu_s, 3))


def s3(turn, prefixes=1_000_000, sources=1, sinks=1):
    """A table from sources, relayed to sinks, or only taken in when there are none; then (S4) the sources are lost."""
    figures = {}
    with bench(turn, Setup(sinks=sinks, sources=sources, relay=True), table=prefixes) as b:
        b.load.connect()
        machine.wait_idle(b.speaker.pids)
        before = machine.cpu_ns(b.speaker.pids)
        turn.quiet(b.load.process.pid, *b.speaker.pids)
        begun = machine.now()
        for source in range(sources):
            b.load.do(f"feed {source}")
        if sinks:
            figures["complete_s"] = seconds(b.load.wait("complete", 600)["last"] - begun)
        figures["idle_s"] = seconds(machine.wait_idle(b.speaker.pids, quiet_s=1, limit_s=600) - begun)
        figures["cpu_s"] = seconds(machine.cpu_ns(b.speaker.pids) - before)
        told, figures["tool_cpu_s"] = b.load.sinks()
        figures["rss_mib"], figures["peak_mib"] = machine.memory_mib(b.speaker.pids)
        if not sinks:
            return figures
        figures["updates"] = told[0]["updates"]
        if any(sink["held"] != prefixes for sink in told):
            raise RuntimeError("a sink lost routes again")
        before, begun = machine.cpu_ns(b.speaker.pids), machine.now()
        for source in range(sources):
            b.load.do(f"close {source}")
        figures["lost_all_s"] = seconds(b.load.wait("emptied", 600)["last"] - begun)
        machine.wait_idle(b.speaker.pids, limit_s=600)
        figures["lost_cpu_s"] = seconds(machine.cpu_ns(b.speaker.pids) - before)
        figures["lost_first_s"] = seconds(min(sink["first_withdraw"] for sink in b.load.sinks()[0]) - begun)
        figures["lost_rss_mib"] = machine.memory_mib(b.speaker.pids)[0]
    return figures


def s5(turn, sessions=500, hold_time=9, watch_s=20):
    """Sessions that all begin at once, and what it costs to keep them."""
    with bench(turn, Setup(sinks=sessions, vips=vips(10), hold_time=hold_time), vips=10, retry_ms=50) as b:
        before_cpu, before = machine.cpu_ns(b.speaker.pids), machine.memory_mib(b.speaker.pids)[0]
        established = b.load.connect(limit_s=180)
        b.load.wait("complete", 120)
        time.sleep(1)
        storm, begun = machine.cpu_ns(b.speaker.pids), machine.now()
        time.sleep(watch_s)
        idle, ended = machine.cpu_ns(b.speaker.pids), machine.now()
        if b.load.stats()["established"] != sessions:
            raise RuntimeError("a session was lost")
        b.load.sinks()
        return dict(all_ms=ms(established["last"] - established["begun"]), storm_cpu_s=seconds(storm - before_cpu),
                    idle_cpu_percent=round((idle - storm) / (ended - begun) * 100, 2), attempts=established["attempts"],
                    before_mib=before, rss_mib=machine.memory_mib(b.speaker.pids)[0])


def s6(turn):
    """From the start of the process until a peer that tries every 2 ms is Established; then idle memory and CPU."""
    with w.World(1, root=ROOT) as world:
        tool = Load(world, turn.tool, sinks=1, retry_ms=2)
        turn.quiet(tool.process.pid)
        tool.do("connect")
        speaker = turn.speaker(world)
        begun = machine.now()
        speaker.start(Setup(sinks=1))
        established = tool.wait("established", 60)
        turn.others.roots = [tool.process.pid, *speaker.pids]
        time.sleep(3)
        before, at = machine.cpu_ns(speaker.pids), machine.now()
        time.sleep(5)
        used = (machine.cpu_ns(speaker.pids) - before) / (machine.now() - at)
        return dict(established_ms=ms(established["last"] - begun), rss_mib=machine.memory_mib(speaker.pids)[0],
                    idle_cpu_percent=round(used * 100, 2))


def s7(turn, interval=50, multiplier=3, prefixes=10, cuts=3):
    """BFD: the link to a router is cut both ways, until another peer has the withdraws, and the kernel lost the routes."""
    figures = dict(withdraw_ms=[], kernel_ms=[], cut_ms=[])
    timing = Bfd(interval, multiplier)
    relay, kernel = (ability in turn.speaker.abilities for ability in ("relay", "kernel"))
    for _ in range(cuts):
        with w.World(1, far=True, root=ROOT) as world:
            speaker, far = turn.speaker(world), FarRouter(world)
            speaker.start(Setup(sinks=1, relay=relay, kernel=kernel, bfd=timing))
            speaker.wait_listening()
            far.begin(vips(prefixes), timing)
            tool = Load(world, turn.tool, sinks=1, vips=prefixes if relay else 0, relayed_from=w.FAR_AS)
            tool.connect(20)
            if relay:
                tool.wait("complete", 40)
            if kernel:
                w.wait_until("routes are in the kernel", lambda: kernel_routes(speaker) >= prefixes)
            w.wait_until("BFD is up", far.bfd_up, step_s=0.1)
            turn.quiet(tool.process.pid, *speaker.pids)
            time.sleep(1 + random.random())  # the intervals settle
            begun = machine.now()
            world.run(world.far, "nft", "-f", "-", input=CUT)
            cut = machine.now()
            if kernel:
                w.wait_until("the kernel lost them", lambda: kernel_routes(speaker) < prefixes, 60, step_s=0.0002)
                figures["kernel_ms"].append(ms(machine.now() - cut))
            if relay:
                figures["withdraw_ms"].append(ms(tool.wait("emptied", 60)["last"] - cut))
                tool.sinks()
            figures["cut_ms"].append(ms(cut - begun))
    return figures


CUT = """table inet cut {
  chain in { type filter hook input priority 0; iifname "peer0" drop; }
  chain out { type filter hook output priority 0; oifname "peer0" drop; }
}"""


def kernel_routes(speaker):
    """Routes to prefixes in all tables of the speaker's namespace, the local table left out."""
    total, table = 0, ""
    with open(f"/proc/{speaker.pids[-1]}/net/fib_triestat") as lines:
        for line in lines:
            if line.endswith(":\n") and not line.startswith((" ", "\t")):
                table = line.strip()
            elif "Prefixes:" in line and table != "Local:":
                total += int(line.split()[1])
    return total


def k1(turn, changes=50):
    """One learned route more: from the source's socket until the kernel has it, and until it is gone again."""
    figures = dict(add_ms=[], delete_ms=[])
    with bench(turn, Setup(sources=1, relay=True, kernel=True), table=10) as b:
        b.load.connect()
        b.load.do("feed 0")
        w.wait_until("the first routes are in the kernel", lambda: kernel_routes(b.speaker) >= 10)
        machine.wait_idle(b.speaker.pids)
        routes = RouteWatch(b.world)
        for n in range(changes):
            for change, key in (("announce", "add"), ("withdraw", "delete")):
                time.sleep(random.uniform(0.02, 0.1))
                sent = b.load.do(f"{change} 0 {watched(n)}")
                figures[key + "_ms"].append(ms(routes.wait(key, watched(n)) - sent))
    return figures


def k2(turn, prefixes=100_000):
    """A table of learned routes: until the kernel has all, and until it has none after the source was lost."""
    figures = {}
    with bench(turn, Setup(sources=1, relay=True, kernel=True), table=prefixes) as b:
        b.load.connect()
        machine.wait_idle(b.speaker.pids)
        before, begun = machine.cpu_ns(b.speaker.pids), machine.now()
        kept = kernel_routes(b.speaker)
        b.load.do("feed 0")
        w.wait_until("all are in the kernel", lambda: kernel_routes(b.speaker) >= kept + prefixes, 300, step_s=0.02)
        figures["add_s"] = seconds(machine.now() - begun)
        machine.wait_idle(b.speaker.pids)
        figures["cpu_s"] = seconds(machine.cpu_ns(b.speaker.pids) - before)
        figures["rss_mib"] = machine.memory_mib(b.speaker.pids)[0]
        begun = machine.now()
        b.load.do("close 0")
        w.wait_until("the kernel has none", lambda: kernel_routes(b.speaker) <= kept, 300, step_s=0.02)
        figures["delete_s"] = seconds(machine.now() - begun)
    return figures
