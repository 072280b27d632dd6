"""The load tool as a process: commands in, events out."""
import json
import os
import queue
import subprocess
import threading
import time

from . import world as w


class Load:
    """`bgp-load` in the load namespace. Its arguments are those of the tool, as keywords."""

    def __init__(self, world, tool, namespace=None, speaker=w.SPEAKER_IP, speaker_as=w.SPEAKER_AS, cpu=None, **arguments):
        command = [tool, "--speaker", speaker, "--speaker-as", speaker_as]
        for name, value in arguments.items():
            option = "--" + name.replace("_", "-")
            command += [option] if value is True else [option, value]
        # On a core of its own where there are two: the last one.
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) > 1:
            command = ["taskset", "-c", cpus[-1] if cpu is None else cpu] + command
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process = world.start(namespace or world.load, *command, **pipes)
        self.events, self.kept = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        self.feeds = self.wait("ready", 120)["feeds"]

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put({"event": "ended"})

    def do(self, command):
        """Has a command carried out and returns when that began; `stats` and `watch` have answers of their own."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        if command.split()[0] in ("stats", "watch"):
            return None
        return self.wait("done", command=command)["at"]

    def wait(self, name, limit_s=60, **fields):
        """Waits for an event; others stay for later. A session that is lost, or a command refused, is an error."""
        def wanted(event):
            return event["event"] == name and all(event.get(key) == value for key, value in fields.items())

        for event in self.kept:
            if wanted(event):
                self.kept.remove(event)
                return event
        deadline = time.monotonic() + limit_s
        while True:
            try:
                event = self.events.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no {name!r} from the load tool in {limit_s} s; it said: {self.kept}") from None
            if wanted(event):
                return event
            if event["event"] in ("ended", "down", "refused"):
                raise RuntimeError(f"the load tool says {event}")
            self.kept.append(event)

    def connect(self, limit_s=120):
        self.do("connect")
        return self.wait("established", limit_s)

    def watch(self, change, prefix):
        self.do(f"watch {change} {prefix}")
        return self.wait("watching")["sinks"]

    def stats(self):
        self.do("stats")
        return self.wait("stats")

    def sinks(self):
        """Counters of the sinks. A route that nobody should have announced, or with a wrong path, is an error: a
        figure for wrong work is none."""
        stats = self.stats()
        sinks = [peer for peer in stats["peers"] if peer["sink"]]
        for n, sink in enumerate(sinks):
            if sink["unexpected"] or sink["wrong"]:
                raise RuntimeError(f"sink {n} was told {sink['unexpected']} unexpected and {sink['wrong']} wrong routes")
        return sinks, stats["cpu_s"]
