"""Controller and router beside a real Kubernetes control plane: what `tests/bench/cluster` measures."""
import json
import subprocess

from . import machine
from .speakers import ours


def change(_tool, changes=120):
    """A Service changed, until Gateway status and slice are written, and until the UPDATE has reached a peer."""
    return player("change", changes=changes)


def scale(_tool, services=1000, pods=10, others=10_000):
    """Many Services and Pods: first writes, a restart of the controller, all slices lost."""
    return player("scale", services=services, pods=pods, others=others)


def quiet(_tool, seconds=600):
    """Nothing happens but a restart of the API server: what is written."""
    return player("quiet", seconds=seconds)


def flap(_tool, pods=200, routers=40, seconds=60):
    """Sessions of many gateway pods flap: what is written to GatewayRouter.status."""
    return player("flap", pods=pods, routers=routers, seconds=seconds)


def player(what, **parameters):
    def play():
        machine.wait_quiet()
        others = machine.Others([])
        command = [ours.BIN / "cluster-bench", what]
        for name, value in parameters.items():
            command += [f"--{name}", str(value)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return flat(json.loads(out)), others.cores()

    return [("l34", ours.Router.version(), play)]


def flat(figures):
    """`controller: {rss_mib: 1}` becomes `controller_rss_mib: 1`."""
    found = {}
    for name, figure in figures.items():
        if isinstance(figure, dict):
            found |= {f"{name}_{part}": value for part, value in figure.items()}
        else:
            found[name] = figure
    return found
