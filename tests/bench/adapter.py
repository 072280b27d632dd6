"""Our speakers for a harness that loads adapters from a file: `--adapter tests/bench/adapter.py`. What it has to offer is
in tests/lab/tests/labs/bench_adapter, whose test loads this file.

`l34` is the library's plain speaker (bgp/examples/speaker.rs), `l34-router` the product with its folder of YAML. Both
are looked for in target/release (or $L34_BIN)."""
import json, os, signal, subprocess
from pathlib import Path
import adapters
from lib import *

BIN = Path(os.environ.get("L34_BIN", Path(__file__).resolve().parents[2] / "target" / "release"))


class L34(adapters.Dut):
    name = "l34"
    note = "bgp/examples/speaker.rs"
    bfd = True

    def prepare(self):
        super().prepare()
        self.file = self.dir / "speaker.json"

    def write(self):
        c = self.cfg
        peers = [dict(address=ip, interface="bbd0", remoteAs=asn, passive=True, **(dict(export="none") if src else dict(export="all", **({} if c["imports"] and "mult" in c else {"import": "none"}))))
                 for src, i, ip, asn in self.peers(c)]
        if "mult" in c:
            peers.append(dict(address="10.98.0.2", interface="bbp0", remoteAs=65300, passive=True, export="none",
                              bfd=dict(intervalMs=c["iv"], multiplier=c["mult"])))
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(dict(routerId=DUT_IP, localAs=DUT_AS, holdTime=c["hold"], peers=peers, originate=self.vips)))
        new.rename(self.file)

    def start(self, **cfg):
        self.prepare()
        self.cfg, self.vips = cfg, list(cfg["vips"])
        self.write()
        self.spawn(str(BIN / "examples" / "speaker"), str(self.file), wrap=False)

    def vip(self, net, add):
        (self.vips.append if add else self.vips.remove)(net)
        self.write()
        pid = next(p for p in tree(self.pids) if "speaker" in Path(f"/proc/{p}/comm").read_text())
        os.kill(pid, signal.SIGHUP)


class L34Router(adapters.Dut):
    name = "l34-router"
    note = "l34-router run --manifests"
    import_ok = False

    GATEWAY = dict(apiVersion="gateway.networking.k8s.io/v1", kind="Gateway", metadata=dict(name="bench"),
                   spec=dict(gatewayClassName="l-3-4-gateway-api-poc/kpng", listeners=[dict(name="all", port=4000, protocol="TCP")]))
    LABEL = {"service.kubernetes.io/service-proxy-name": "bench"}

    def put(self, name, objects):
        new = self.folder / f".{name}.new"
        new.write_text("---\n".join(json.dumps(o) + "\n" for o in objects))
        new.rename(self.folder / f"{name}.yaml")

    def service(self, name, vip):
        return dict(apiVersion="v1", kind="Service", metadata=dict(name=name, labels=self.LABEL),
                    spec=dict(type="LoadBalancer", externalIPs=[vip], ports=[dict(port=4000, protocol="TCP")],
                              selector={"app": "none", "l-3-4-gateway-api-poc/dummy-service-selector": "true"}))

    def start(self, **cfg):
        self.prepare()
        self.folder = self.dir / "manifests"
        self.folder.mkdir()
        routers = [dict(apiVersion="l34.gateway.api.poc/v1alpha1", kind="GatewayRouter", metadata=dict(name=f"{'r' if src else 's'}{i}", labels=self.LABEL),
                        spec=dict(address=ip, interface="bbd0", bgp=dict(localASN=DUT_AS, remoteASN=asn, holdTime=f"{cfg['hold']}s")))
                   for src, i, ip, asn in self.peers(cfg)]
        self.put("gateway", [self.GATEWAY] + routers)
        self.put("services", [self.service(f"base-{n}", v.split("/")[0]) for n, v in enumerate(cfg["vips"])])
        self.spawn(str(BIN / "l34-router"), "run", "--manifests", str(self.folder), "--gateway", "bench", "--fib", "none", "--dataplane", "none",
                   "--admin", str(self.dir / "admin.sock"), wrap=False)

    def vip(self, net, add):
        name = "vip-" + net.split("/")[0].replace(".", "-")
        if add:
            self.put(name, [self.service(name, net.split("/")[0])])
        else:
            (self.folder / f"{name}.yaml").unlink()
