"""GoBGP: VIPs come over its API one by one, because its configuration knows none. So it takes no part where they are
thousands from the start (its tool takes 15 ms for each; `gobgp mrt inject` of 3.10 leaves the table empty)."""
from .. import world as w
from .speaker import Speaker, said


class Gobgp(Speaker):
    name = "gobgp"
    abilities = frozenset(("relay",))

    @classmethod
    def version(cls):
        words = said("gobgpd", "--version").split()
        return words[-1] if words else None

    def start(self, setup):
        lines = [
            "[global.config]", f"as = {w.SPEAKER_AS}", f'router-id = "{w.SPEAKER_IP}"', "port = 179",
            f'local-address-list = ["{w.SPEAKER_IP}"]',
        ]
        sources = [address for sink, _, address, _ in setup.peers() if not sink]
        if sources:
            # Nothing goes back to the sources, as with the others.
            lines += [
                "[global.apply-policy.config]", 'export-policy-list = ["out"]', 'default-export-policy = "accept-route"',
                "[[defined-sets.neighbor-sets]]", 'neighbor-set-name = "sources"',
                "neighbor-info-list = [" + ", ".join(f'"{address}"' for address in sources) + "]",
                "[[policy-definitions]]", 'name = "out"', "[[policy-definitions.statements]]", 'name = "nothing"',
                "[policy-definitions.statements.conditions.match-neighbor-set]", 'neighbor-set = "sources"',
                "[policy-definitions.statements.actions]", 'route-disposition = "reject-route"',
            ]
        for _, _, address, peer_as in setup.peers():
            lines += [
                "[[neighbors]]", "[neighbors.config]", f'neighbor-address = "{address}"', f"peer-as = {peer_as}",
                "[neighbors.transport.config]", "passive-mode = true", f'local-address = "{w.SPEAKER_IP}"',
                "[neighbors.timers.config]", f"hold-time = {setup.hold_time}",
                f"keepalive-interval = {max(1, setup.hold_time // 3)}",
            ]
        config = self.write("gobgpd.toml", "\n".join(lines) + "\n")
        self.spawn("gobgpd", "-f", config, "--log-level", "warn", "--pprof-disable", "--api-hosts", "127.0.0.1:50051")
        if setup.vips:
            self.wait_listening()
            for vip in setup.vips:
                self.set_vip(vip, True)

    def set_vip(self, prefix, announced):
        self.world.run(self.world.speaker, "gobgp", "global", "rib", "add" if announced else "del", prefix, chroot=True)
