"""BIRD 2 and 3: VIPs are static routes, changed by writing the file and `birdc configure`."""
from .. import world as w
from .speaker import Bfd, Speaker, said


class Bird(Speaker):
    abilities = frozenset(("bulk", "relay", "kernel", "bfd"))
    major = 0
    folders = ()

    @classmethod
    def folder(cls):
        """Where its binaries are; none when they are not."""
        return next((x for x in cls.folders if said(f"{x}/bird", "--version").startswith(f"BIRD version {cls.major}.")), None)

    @classmethod
    def version(cls):
        folder = cls.folder()
        return folder and said(f"{folder}/bird", "--version").split()[-1]

    def start(self, setup):
        self.setup, self.vips = setup, list(setup.vips)
        self.bin = self.folder()
        self.socket = self.world.inside(self.world.folder / "bird.sock")
        self.spawn(f"{self.bin}/bird", "-f", "-c", self._configure(), "-s", self.socket, "-P", self.socket + ".pid")

    def set_vip(self, prefix, announced):
        (self.vips.append if announced else self.vips.remove)(prefix)
        self._configure()
        answer = self.world.run(self.world.speaker, f"{self.bin}/birdc", "-s", self.socket, "configure", chroot=True)
        if "econfigur" not in answer:
            raise RuntimeError(answer)

    def _configure(self):
        setup = self.setup
        relayed = "if source = RTS_BGP then accept;" if setup.relay else ""
        lines = [
            "log stderr { error, fatal, bug, warning };",
            f"router id {w.SPEAKER_IP};",
            "protocol device {}",
            "protocol static vips { ipv4 { preference 110; };",
            *(f"route {vip} blackhole;" for vip in self.vips),
            "}",
            f"filter announce {{ if source = RTS_STATIC then accept; {relayed} reject; }}",
            f"template bgp sink {{ local {w.SPEAKER_IP} as {w.SPEAKER_AS}; passive; hold time {setup.hold_time};",
            "  ipv4 { import none; export filter announce; next hop self; }; }",
            f"template bgp feeder {{ local {w.SPEAKER_IP} as {w.SPEAKER_AS}; passive; hold time {setup.hold_time};",
            "  ipv4 { import all; export none; }; }",
        ]
        for sink, n, address, peer_as in setup.peers():
            kind = "sink" if sink else "feeder"
            lines.append(f"protocol bgp {kind}{n} from {kind} {{ neighbor {address} as {peer_as}; }}")
        if setup.kernel:
            lines.append("protocol kernel { scan time 3600; ipv4 { import none; export where source = RTS_BGP; }; }")
        if setup.bfd:
            lines += [
                bfd(setup.bfd),
                f"protocol bgp far {{ local {w.NEAR_IP} as {w.SPEAKER_AS}; neighbor {w.FAR_IP} as {w.FAR_AS}; passive;",
                "  bfd on; ipv4 { import all; export none; }; }",
            ]
        return self.write("bird.conf", "\n".join(lines) + "\n")


class Bird2(Bird):
    name = "bird2"
    major = 2
    folders = ("/opt/bird2/usr/sbin", "/usr/sbin")


class Bird3(Bird):
    name = "bird3"
    major = 3
    folders = ("/usr/sbin",)


class FarRouter(Bird2):
    """The router that gets cut off, the same for every speaker: it announces the first VIPs to the speaker."""

    def begin(self, prefixes, timing):
        self.bin = self.folder()
        self.socket = self.world.inside(self.world.folder / "far.sock")
        config = self.write("far.conf", "\n".join([
            "log stderr { error, fatal, bug, warning };",
            f"router id {w.FAR_IP};",
            "protocol device {}",
            bfd(timing),
            "protocol static announced { ipv4;", *(f"route {prefix} blackhole;" for prefix in prefixes), "}",
            f"protocol bgp near {{ local {w.FAR_IP} as {w.FAR_AS}; neighbor {w.NEAR_IP} as {w.SPEAKER_AS}; bfd on;",
            "  connect delay time 1; connect retry time 1; error wait time 1,2;",
            "  ipv4 { import none; export all; next hop self; }; }",
        ]) + "\n")
        self.world.start(self.world.far, f"{self.bin}/bird", "-f", "-c", config, "-s", self.socket, "-P", self.socket + ".pid",
                         log="far.log", chroot=True)

    def bfd_up(self):
        words = (f"{self.bin}/birdc", "-s", self.socket, "show", "bfd", "sessions")
        try:
            lines = self.world.run(self.world.far, *words, chroot=True).splitlines()
        except RuntimeError:
            return False  # not yet there
        return any(line.startswith(w.NEAR_IP) and " Up " in line for line in lines)


def bfd(timing: Bfd):
    return f'protocol bfd {{ interface "*" {{ interval {timing.interval_ms} ms; multiplier {timing.multiplier}; }}; }}'
