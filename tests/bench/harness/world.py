"""Network namespaces of one run, and what runs in them. All is gone when the `with` block ends, however it ends."""
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import machine

PREFIX = "lb-"

SPEAKER_IP, SPEAKER_AS = "10.99.0.1", 65000
FIRST_SINK, SINK_AS = "10.99.1.1", 65100
FIRST_SOURCE, SOURCE_AS = "10.99.200.1", 65201
SPEAKER_LINK = "bench0"

# The link to a router that is watched by BFD and then cut off.
FAR_LINK, NEAR_IP, FAR_IP, FAR_AS = "far0", "10.98.0.1", "10.98.0.2", 65300


def address(first, n):
    value = int.from_bytes(bytes(int(octet) for octet in first.split(".")), "big") + n
    return ".".join(str(octet) for octet in value.to_bytes(4, "big"))


def run(*command, **options):
    """Runs a command to its end; an error has its output."""
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def sweep(root):
    """Removes what runs left behind that were killed."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if _is_orphan(name):
            _remove(name)
    for folder in (root / "run").glob(PREFIX + "*"):
        if _is_orphan(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_orphan(name):
    pid = name.removeprefix(PREFIX).split("-")[0]
    return name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists()


def _remove(name):
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
    for pid in pids:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    subprocess.run(["ip", "netns", "del", name], capture_output=True)


class World:
    """The speaker's namespace, the load tool's, and a folder; `far` adds the router that gets cut off."""

    def __init__(self, sinks=1, sources=0, far=False, root=Path("/")):
        self.prefix = f"{PREFIX}{os.getpid()}-"
        self.speaker, self.load = self.prefix + "speaker", self.prefix + "load"
        self.far = self.prefix + "far" if far else None
        self.sinks, self.sources, self.root = sinks, sources, root
        self.processes = []

    def __enter__(self):
        # Inside the tree of the speakers, which may be a chroot.
        place = self.root / "run"
        self.folder = Path(tempfile.mkdtemp(prefix=self.prefix, dir=place))
        self.folder.chmod(0o755)
        try:
            for name in self._names():
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            self._link(self.speaker, SPEAKER_LINK, [SPEAKER_IP + "/16"], self.load, self._players())
            if self.far:
                self._link(self.speaker, FAR_LINK, [NEAR_IP + "/30"], self.far, [FAR_IP + "/30"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            end(process)
        for name in self._names():
            _remove(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _names(self):
        return [name for name in (self.speaker, self.load, self.far) if name]

    def _players(self):
        groups = ((FIRST_SINK, self.sinks), (FIRST_SOURCE, self.sources))
        return [address(first, n) + "/16" for first, count in groups for n in range(count)]

    def _link(self, near, name, near_addresses, far, far_addresses):
        run("ip", "link", "add", name, "netns", near, "type", "veth", "peer", "name", "peer0", "netns", far)
        for namespace, link, addresses in ((near, name, near_addresses), (far, "peer0", far_addresses)):
            batch = "".join(f"addr add {address} dev {link}\n" for address in addresses)
            run("ip", "-n", namespace, "-batch", "-", input=batch + f"link set {link} up\n")

    def inside(self, path):
        """A path of the folder as a speaker in the tree sees it."""
        return str(Path("/") / path.relative_to(self.root))

    def command(self, namespace, *command, chroot=False):
        # nsenter makes no mount namespace and does not fork, so that the process is the command itself.
        words = ["nsenter", f"--net=/run/netns/{namespace}"]
        if chroot and self.root != Path("/"):
            words += ["chroot", str(self.root)]
        return words + [str(word) for word in command]

    def start(self, namespace, *command, log=None, chroot=False, **options):
        """Starts a process that dies with the harness."""
        words = ["setpriv", "--pdeathsig", "KILL"] + self.command(namespace, *command, chroot=chroot)
        if log is not None:
            out = open(self.folder / log, "w")
            options = dict(stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
        process = subprocess.Popen(words, **options)
        self.processes.append(process)
        return process

    def run(self, namespace, *command, chroot=False, **options):
        return run(*self.command(namespace, *command, chroot=chroot), **options)

    def logs(self):
        """The ends of all logs, for the words of an error."""
        ends = ((log.name, log.read_text(errors="replace")[-600:].strip()) for log in sorted(self.folder.glob("*.log")))
        return "; ".join(f"{name}: {text}" for name, text in ends if text)


def end(process):
    """SIGTERM, after 10 s SIGKILL; then what it started too."""
    family = machine.tree([process.pid])
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_until(what, condition, limit_s=20, step_s=0.005):
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s} s: {what}")
        time.sleep(step_s)
    return value
