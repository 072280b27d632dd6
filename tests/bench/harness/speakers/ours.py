"""Ours: the library's plain speaker, and the product with its folder of manifests."""
import json
import os
import signal
from pathlib import Path

from .. import world as w
from .speaker import Speaker

REPOSITORY = Path(__file__).resolve().parents[4]
PROFILE = os.environ.get("BENCH_PROFILE", "release")
BIN = Path(os.environ.get("L34_BIN", REPOSITORY / "target" / {"dev": "debug"}.get(PROFILE, PROFILE)))


class Library(Speaker):
    """`bgp/examples/speaker.rs`: what the BGP and BFD libraries do, without the router around them."""
    name = "l34"
    abilities = frozenset(("bulk", "relay", "bfd"))
    program = BIN / "examples" / "speaker"

    @classmethod
    def version(cls):
        return _revision() if cls.program.exists() else None

    def start(self, setup):
        self.setup, self.vips = setup, list(setup.vips)
        self.spawn(self.program, self._configure(), chroot=False)

    def set_vip(self, prefix, announced):
        (self.vips.append if announced else self.vips.remove)(prefix)
        self._configure()
        os.kill(self.pids[0], signal.SIGHUP)

    def _configure(self):
        setup, peers = self.setup, []
        for sink, _, address, peer_as in setup.peers():
            routes = dict(export="all" if setup.relay else "own", **{"import": "none"}) if sink else dict(export="none")
            peers.append(dict(address=address, interface=w.SPEAKER_LINK, remoteAs=peer_as, passive=True, nextHopSelf=True, **routes))
        if setup.bfd:
            timing = dict(intervalMs=setup.bfd.interval_ms, multiplier=setup.bfd.multiplier)
            peers.append(dict(address=w.FAR_IP, interface=w.FAR_LINK, remoteAs=w.FAR_AS, passive=True, export="none", bfd=timing))
        config = dict(routerId=w.SPEAKER_IP, localAs=w.SPEAKER_AS, holdTime=setup.hold_time, peers=peers, originate=self.vips)
        self.write("speaker.json", json.dumps(config))
        return str(self.world.folder / "speaker.json")


class Router(Speaker):
    """`l34-router run --manifests`: an operator saves or removes a file with the Service."""
    name = "l34-router"
    abilities = frozenset(("bulk", "kernel", "bfd"))
    program = BIN / "l34-router"
    labels = {"service.kubernetes.io/service-proxy-name": "bench"}

    @classmethod
    def version(cls):
        return _revision() if cls.program.exists() else None

    def start(self, setup):
        self.manifests = self.world.folder / "manifests"
        self.manifests.mkdir()
        listener = dict(name="all", port=4000, protocol="TCP")
        gateway = dict(apiVersion="gateway.networking.k8s.io/v1", kind="Gateway", metadata=dict(name="bench"),
                       spec=dict(gatewayClassName="l-3-4-gateway-api-poc/kpng", listeners=[listener]))
        routers = [self._router(f"{'sink' if sink else 'source'}-{n}", address, w.SPEAKER_LINK, peer_as, setup.hold_time)
                   for sink, n, address, peer_as in setup.peers()]
        if setup.bfd:
            interval = f"{setup.bfd.interval_ms}ms"
            timing = dict(switch=True, minTx=interval, minRx=interval, multiplier=setup.bfd.multiplier)
            routers.append(self._router("far", w.FAR_IP, w.FAR_LINK, w.FAR_AS, setup.hold_time, bfd=timing))
        self._put("gateway", [gateway] + routers)
        if setup.vips:
            self._put("services", [self._service(f"base-{n}", vip) for n, vip in enumerate(setup.vips)])
        self.spawn(self.program, "run", "--manifests", self.manifests, "--gateway", "bench", "--dataplane", "none",
                   "--fib", "kernel" if setup.kernel else "none", "--admin", self.world.folder / "admin.sock",
                   "--drain-pause", "1ms", chroot=False)

    def set_vip(self, prefix, announced):
        name = "vip-" + prefix.split("/")[0].replace(".", "-")
        if announced:
            self._put(name, [self._service(name, prefix)])
        else:
            (self.manifests / f"{name}.yaml").unlink()

    def _put(self, name, objects):
        new = self.manifests / f".{name}.new"
        new.write_text("---\n".join(json.dumps(object) + "\n" for object in objects))
        new.rename(self.manifests / f"{name}.yaml")

    def _router(self, name, address, interface, remote_as, hold_time, **bgp):
        bgp = dict(localASN=w.SPEAKER_AS, remoteASN=remote_as, holdTime=f"{hold_time}s", **bgp)
        return dict(apiVersion="l34.gateway.api.poc/v1alpha1", kind="GatewayRouter", metadata=dict(name=name, labels=self.labels),
                    spec=dict(address=address, interface=interface, bgp=bgp))

    def _service(self, name, vip):
        return dict(apiVersion="v1", kind="Service", metadata=dict(name=name, labels=self.labels),
                    spec=dict(type="LoadBalancer", externalIPs=[vip.split("/")[0]], ports=[dict(port=4000, protocol="TCP")],
                              selector={"app": "bench", "l-3-4-gateway-api-poc/dummy-service-selector": "true"}))


def _revision():
    if "L34_BIN" in os.environ:
        return ""  # whatever lies there
    try:
        return w.run("git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD").strip()
    except (OSError, RuntimeError):
        return "?"
