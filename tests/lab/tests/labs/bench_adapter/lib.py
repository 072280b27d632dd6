"""What an adapter gets by `from lib import *` from a harness that loads it."""
DUT_IP, DUT_AS = "10.99.0.1", 65000
SINK_IP, SINK_AS = "10.99.1.1", 65100


def tree(pids):
    """The processes and their descendants: here nothing is wrapped."""
    return list(pids)
