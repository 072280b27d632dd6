"""What processes use of the machine, and what others use of it meanwhile."""
import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
now = time.monotonic_ns  # the load tool's clock


def tree(roots):
    """The processes and all their living descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry.name)) and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        if _stat(pid):
            found.append(pid)
            todo += children.get(pid, [])
    return found


def _stat(pid):
    """Fields of /proc/PID/stat from the state on; none when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()


def cpu_ns(roots):
    """CPU time of a process tree so far, to the nanosecond."""
    total = 0
    for pid in tree(roots):
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass  # ended meanwhile
    return total


def memory_mib(roots):
    """Resident memory of a process tree: now, and the sum of its peaks."""
    resident = peak = 0
    for pid in tree(roots):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        resident += int(status.get("VmRSS", "0").split()[0])
        peak += int(status.get("VmHWM", "0").split()[0])
    return round(resident / 1024, 1), round(peak / 1024, 1)


def wait_idle(roots, quiet_s=0.5, limit_s=300, share=0.03):
    """Waits until a process tree has used less than `share` of a core for a while. Returns when it was last busy."""
    step_s, before, busy_at = 0.05, cpu_ns(roots), now()
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        time.sleep(step_s)
        used, at = cpu_ns(roots), now()
        if used - before > step_s * share * 1e9:
            busy_at = at
        before = used
        if at - busy_at > quiet_s * 1e9:
            return busy_at
    raise TimeoutError(f"still busy after {limit_s} s")


def _busy_s():
    """CPU seconds that the whole machine has been busy, with what the host took from it."""
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK  # without idle and iowait


class Others:
    """Cores that other processes use from here on: a noisy run must be visible as one."""

    def __init__(self, roots):
        self.roots, self.begun = roots, time.monotonic()
        self.busy_s, self.own_s = _busy_s(), self._own_s()

    def _own_s(self):
        times = os.times()
        harness = times.user + times.system + times.children_user + times.children_system
        return cpu_ns(self.roots) / 1e9 + harness

    def cores(self):
        elapsed = time.monotonic() - self.begun
        used = (_busy_s() - self.busy_s) - (self._own_s() - self.own_s)
        return round(max(0.0, used) / elapsed, 2) if elapsed > 0.05 else None


def wait_quiet(limit_s=float(os.environ.get("BENCH_PATIENCE", 20)), cores=0.2):
    """Waits for one quiet second of the machine, but not for ever."""
    end, good = time.monotonic() + limit_s, 0
    while good < 4 and time.monotonic() < end:
        before = _busy_s()
        time.sleep(0.25)
        good = good + 1 if _busy_s() - before < cores * 0.25 + 1.5 / TICK else 0
    return good >= 4
