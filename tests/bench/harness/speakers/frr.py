"""FRR: zebra and bgpd, bfdd where BFD is asked for; VIPs are `network` lines, changed by vtysh."""
import shutil
from pathlib import Path

from .. import world as w
from .speaker import ROOT, Speaker, said

DAEMONS = "/usr/lib/frr"


class Frr(Speaker):
    name = "frr"
    abilities = frozenset(("bulk", "relay", "kernel", "bfd"))

    @classmethod
    def version(cls):
        words = said(f"{DAEMONS}/bgpd", "--version").split()
        return words[2] if len(words) > 2 else None

    def start(self, setup):
        self.dir = self.world.inside(self.world.folder)
        self.user = _user("frr")
        shutil.chown(self.world.folder, *self.user)
        self._write("zebra.conf", ["hostname zebra"])
        self._write("vtysh.conf", ["no service integrated-vtysh-config"])
        self._write("bgpd.conf", self._bgpd(setup))
        self._daemon("zebra")
        if (ROOT / DAEMONS.lstrip("/") / "mgmtd").exists():
            # From FRR 10 on; it has a fixed place for its sockets.
            place = ROOT / "run/frr"
            place.mkdir(parents=True, exist_ok=True)
            shutil.chown(place, *self.user)
            self._daemon("mgmtd", socket=False)
        if setup.bfd:
            timing = setup.bfd
            self._write("bfdd.conf", [
                "bfd", "profile bench", f"detect-multiplier {timing.multiplier}",
                f"transmit-interval {timing.interval_ms}", f"receive-interval {timing.interval_ms}", "exit", "exit",
            ])
            self._daemon("bfdd", "--bfdctl", f"{self.dir}/bfdd.sock")
        # Without -n what bgpd learns goes to the kernel.
        self._daemon("bgpd", "--limit-fds", "4096", *([] if setup.kernel else ["-n"]))

    def set_vip(self, prefix, announced):
        lines = ["configure terminal", f"router bgp {w.SPEAKER_AS}", "address-family ipv4 unicast",
                 f"{'' if announced else 'no '}network {prefix}"]
        words = [word for line in lines for word in ("-c", line)]
        self.world.run(self.world.speaker, "vtysh", "--vty_socket", self.dir, "--config_dir", self.dir, "-d", "bgpd", *words,
                       chroot=True)

    def _bgpd(self, setup):
        lines = [
            "hostname bgpd", "route-map NOTHING deny 10", "exit", f"router bgp {w.SPEAKER_AS}", f"bgp router-id {w.SPEAKER_IP}",
            "no bgp ebgp-requires-policy", "no bgp network import-check",
            f"timers bgp {max(1, setup.hold_time // 3)} {setup.hold_time}",
            "neighbor SINK peer-group", "neighbor SINK passive", "neighbor SOURCE peer-group", "neighbor SOURCE passive",
        ]
        for sink, _, address, peer_as in setup.peers():
            lines += [f"neighbor {address} remote-as {peer_as}", f"neighbor {address} peer-group {'SINK' if sink else 'SOURCE'}"]
        if setup.bfd:
            far = f"neighbor {w.FAR_IP}"
            lines += [f"{far} remote-as {w.FAR_AS}", f"{far} peer-group SOURCE", f"{far} bfd", f"{far} bfd profile bench"]
        lines += ["address-family ipv4 unicast", "neighbor SOURCE route-map NOTHING out"]
        if not setup.relay:
            lines.append("neighbor SINK route-map NOTHING in")
        return lines + [f"network {vip}" for vip in setup.vips] + ["exit-address-family", "exit"]

    def _write(self, name, lines):
        self.write(name, "\n".join(lines) + "\n")
        shutil.chown(self.world.folder / name, *self.user)

    def _daemon(self, name, *options, socket=True):
        words = [f"{DAEMONS}/{name}", "-i", f"{self.dir}/{name}.pid", "-P", "0", "--log", "stdout"]
        words += ["-z", f"{self.dir}/zserv.api", "--vty_socket", self.dir] if socket else []
        if (self.world.folder / f"{name}.conf").exists():
            words += ["-f", f"{self.dir}/{name}.conf"]
        self.spawn(*words, *options)
        if socket:
            w.wait_until(f"{name} opens its socket; {self.world.logs()}", (self.world.folder / f"{name}.vty").exists)


def _user(name):
    lines = (line.split(":") for line in (ROOT / "etc/passwd").read_text().splitlines())
    return next((int(line[2]), int(line[3])) for line in lines if line[0] == name)
