"""The interface of a harness that loads adapters from a file, and no more of it: one speaker in this network namespace."""
import os
import subprocess
from pathlib import Path

from lib import *


class Dut:
    name = "?"

    def __init__(self):
        self.procs = []
        self.dir = Path(os.environ["BENCH_FOLDER"])

    def prepare(self):
        self.dir.mkdir()

    def peers(self, cfg):
        """Whether it is a source, its number, address and AS."""
        return [(False, number, SINK_IP, SINK_AS) for number in range(cfg["sinks"])]

    def spawn(self, *cmd, wrap=True):
        # It ends with this process, however that ends.
        self.procs.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *cmd], stdin=subprocess.DEVNULL))

    @property
    def pids(self):
        return [process.pid for process in self.procs]
