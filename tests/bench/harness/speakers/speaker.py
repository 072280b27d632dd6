"""What the harness asks of every speaker."""
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .. import machine, world as w

# Where the speakers of others are: the machine itself, or a tree with newer versions.
ROOT = Path(os.environ.get("BENCH_ROOT", "/"))


@dataclass
class Bfd:
    interval_ms: int
    multiplier: int


@dataclass
class Setup:
    """What a speaker is configured to do, before anything connects. It listens; the load tool connects."""
    sinks: int = 0
    sources: int = 0
    vips: list = field(default_factory=list)
    hold_time: int = 90
    # Learned routes go to the sinks (relay) and to the kernel.
    relay: bool = False
    kernel: bool = False
    # The router beyond FAR_LINK is a peer too, watched like this.
    bfd: Optional[Bfd] = None

    def peers(self):
        """(is a sink, number, address, AS) of the peers that the load tool plays."""
        for n in range(self.sinks):
            yield True, n, w.address(w.FIRST_SINK, n), w.SINK_AS
        for n in range(self.sources):
            yield False, n, w.address(w.FIRST_SOURCE, n), w.SOURCE_AS + n


class Speaker:
    """One speaker in the speaker's namespace."""
    name = "?"
    # What it can do: begin with thousands of VIPs, relay routes, put them into the kernel, watch a peer by BFD.
    abilities = frozenset()

    def __init__(self, world):
        self.world, self.processes = world, []

    @classmethod
    def version(cls):
        """A word for the version, none when it is not installed."""
        raise NotImplementedError

    def start(self, setup):
        """Writes the configuration and starts. `set_vip` follows."""
        raise NotImplementedError

    def set_vip(self, prefix, announced):
        """Announces or withdraws one VIP as its operator would, and returns when the tool has returned."""
        raise NotImplementedError

    def spawn(self, *command, chroot=True):
        log = f"{self.name}-{len(self.processes)}.log"
        process = self.world.start(self.world.speaker, *command, log=log, chroot=chroot)
        self.processes.append(process)
        return process

    @property
    def pids(self):
        return [process.pid for process in self.processes]

    def wait_listening(self, port=179, limit_s=60):
        """Waits until its last process has opened the BGP port."""
        def listening():
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} has ended; {self.world.logs()}")
            return _listens(self.pids[-1], port)

        w.wait_until(f"{self.name} listens", listening, limit_s)
        return machine.now()

    def write(self, name, text):
        """Replaces a file of its folder in one step. Returns the path as the speaker sees it."""
        path = self.world.folder / name
        new = path.with_name("." + name + ".new")
        new.write_text(text)
        new.rename(path)
        return self.world.inside(path)


def _listens(pid, port):
    end = f":{port:04X}"
    for family in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]
        except OSError:
            continue
        words = (line.split() for line in lines)
        if any(word[3] == "0A" and word[1].endswith(end) for word in words):
            return True
    return False


def said(*command):
    """What a command says at once, on either output; empty when there is no such command."""

    words = [str(word) for word in command]
    if ROOT != Path("/"):
        words = ["chroot", str(ROOT)] + words
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""
