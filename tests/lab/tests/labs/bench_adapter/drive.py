"""Starts the speaker NAME of the adapter FILE with one VIP, then announces and withdraws others as standard input says."""
import importlib.util
import sys

spec = importlib.util.spec_from_file_location("adapter", sys.argv[1])
adapter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(adapter)
[speaker] = [value for value in vars(adapter).values() if getattr(value, "name", None) == sys.argv[2]]
dut = speaker()
dut.start(sinks=1, sources=0, vips=["20.0.0.1/32"], hold=90, imports=False)
for line in sys.stdin:
    change, net = line.split()
    dut.vip(net, change == "add")
