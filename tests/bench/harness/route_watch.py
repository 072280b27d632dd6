"""Route changes of a network namespace as the kernel tells them, with the time at which they were read.

As a program, inside the namespace: prints a line `add|delete PREFIX NANOSECONDS` for each IPv4 route.
"""
import queue
import socket
import struct
import subprocess
import sys
import threading
import time

RTMGRP_IPV4_ROUTE = 0x40
RTM_NEWROUTE, RTM_DELROUTE, RTA_DST = 24, 25, 1
SO_RCVBUFFORCE = 33
CHANGES = {RTM_NEWROUTE: "add", RTM_DELROUTE: "delete"}


class RouteWatch:
    """Runs this file in the speaker's namespace, and waits for what it says."""

    def __init__(self, world):
        self.process = world.start(world.speaker, sys.executable, __file__, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdout.readline()
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()

    def wait(self, change, prefix, limit_s=20):
        """When the kernel said so, in nanoseconds of the monotonic clock."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                said = self.lines.get(timeout=max(0.001, deadline - time.monotonic())).split()
            except queue.Empty:
                raise TimeoutError(f"the kernel did not {change} {prefix} in {limit_s} s") from None
            if said[:2] == [change, prefix]:
                return int(said[2])


def main():
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    listener.bind((0, RTMGRP_IPV4_ROUTE))
    print("ready", flush=True)
    while True:
        message, now = listener.recv(1 << 16), time.monotonic_ns()
        for change, prefix in changes(message):
            print(change, prefix, now, flush=True)


def changes(message):
    """(change, prefix) of each message that is about a route."""
    while len(message) >= 16:
        length, kind = struct.unpack_from("=IH", message)
        if kind in CHANGES:
            yield CHANGES[kind], prefix(message[16:length])
        message = message[(length + 3) & ~3:]


def prefix(route):
    """The destination of a `struct rtmsg` with its attributes."""
    destination, attributes = "0.0.0.0", route[12:]
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == RTA_DST:
            destination = socket.inet_ntoa(attributes[4:8])
        attributes = attributes[max(4, (length + 3) & ~3):]
    return f"{destination}/{route[1]}"


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit()
