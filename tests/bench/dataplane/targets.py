"""The figures against what they should be, as a Markdown table."""
import json

from harness.figures import median, number, percentile, ratio, spread
from ways import ROUTED

ONE, SPREAD, RULES, CHAINS = "one rule", "one rule, 10 endpoints", "one rule, and our ip rules", "kube-proxy chains, 1,000 services"
OURS = "l34, 1,000 services"


def report(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print("\n| what | figure | reference | ratio, 95 % interval | target | |")
    print("|---|---|---|---|---|---|")
    for part, lines in (("table", table), ("routes", routes), ("next-hops", next_hops), ("packets", packets), ("connections", connections)):
        mine = [row for row in rows if row["part"] == part]
        if mine:
            # The newest run of each part; rounds of several runs are no pairs.
            newest = max(row["run"] for row in mine)
            for cells in lines(Figures([row for row in mine if row["run"] == newest])):
                print("| " + " | ".join(cells) + " |")


class Figures:
    """Figures by the name of who produced them, and round."""

    def __init__(self, rows):
        self.by = {}
        for row in rows:
            for figure, value in row["figures"].items():
                self.by.setdefault((row["name"], figure), {})[row["round"]] = value

    def all(self, name, figure):
        """Single measurements of all rounds."""
        return [value for one in self.by.get((name, figure), {}).values() for value in (one if isinstance(one, list) else [one])]

    def ratio(self, name, figure, other, other_figure=None):
        """Ours to theirs, of the median of each round."""
        mine, theirs = self.by.get((name, figure), {}), self.by.get((other, other_figure or figure), {})
        return ratio([(middle(mine[n]), middle(theirs[n])) for n in mine if n in theirs])


def middle(value):
    return median(value) if isinstance(value, list) else value


def interval(found):
    return "x{} [{}, {}]".format(*(f"{value:.3f}" if 0.5 < value < 2 else number(value) for value in found)) if found else ""


def verdict(met):
    return "met" if met else "**missed**"


def within(found, least):
    """Whether a ratio may be `least` or more; an interval in which much else lies too proves nothing."""
    _, low, high = found
    if low < least <= high and high - low > 0.1:
        return "not told: too wide"
    return verdict(high >= least)


def table(figures):
    for services in (1, 1000, 10_000):
        key = f"swap_{services}_us"
        mine = figures.all("l34", key)
        yield (f"one endpoint replaced, {services:,} services: p50", f"{spread(mine)} us", f"`nft -f` {number(median(figures.all('nft -f', key)))} us",
               interval(figures.ratio("l34", key, "nft -f")), "50 us", verdict(median(mine) <= 50))
    flat = figures.ratio("l34", "swap_10000_us", "l34", "swap_1_us")
    yield "the same, 10,000 services to 1", "", "", interval(flat), "flat: 1.1 within", verdict(flat[1] <= 1.1)
    key = "load_10000_ms"
    mine = figures.all("l34", key)
    yield ("full load, 10,000 services of 10", f"{spread(mine)} ms", f"`nft -f`, same table, {number(median(figures.all('nft -f', key)))} ms",
           interval(figures.ratio("l34", key, "nft -f")), "500 ms", verdict(median(mine) <= 500))
    mine, theirs = figures.all("l34", "load_cpu_ms"), figures.all("nft -f", "load_cpu_ms")
    yield ("the same, processor time", f"{spread(mine)} ms", f"`nft -f` {number(median(theirs))} ms", interval(figures.ratio("l34", "load_cpu_ms", "nft -f")), "none", "")


def routes(figures):
    mine, theirs = figures.all("l34-router", "add_ms"), figures.all("bird2", "add_ms")
    yield (f"one learned route to the kernel: p50, p99 of {len(mine)}", f"{number(median(mine))}, {number(percentile(mine, 99))} ms",
           f"bird2 {number(median(theirs))}, {number(percentile(theirs, 99))} ms", interval(figures.ratio("l34-router", "add_ms", "bird2")),
           "p99 2 ms", verdict(percentile(mine, 99) <= 2))
    yield ("100,000 learned routes to the kernel", f"{spread(figures.all('l34-router', 'add_s'))} s", f"bird2 {spread(figures.all('bird2', 'add_s'))} s",
           interval(figures.ratio("l34-router", "add_s", "bird2")), "none", "")


def next_hops(figures):
    mine = figures.all("l34", "changed_ms")
    yield ("next hop of 100,000 routes changed", f"{spread(mine)} ms", f"`ip -batch` {number(median(figures.all('ip -batch', 'changed_ms')))} ms",
           interval(figures.ratio("l34", "changed_ms", "ip -batch")), "20 ms", verdict(median(mine) <= 20))
    mine, theirs = figures.all("l34", "changed_cpu_ms"), figures.all("ip -batch", "changed_cpu_ms")
    yield ("the same, processor time", f"{spread(mine)} ms", f"`ip -batch` {number(median(theirs))} ms", interval(figures.ratio("l34", "changed_cpu_ms", "ip -batch")), "none", "")


def packets(figures):
    few, many = "l34, 10 VIPs", "l34, 10,000 VIPs"
    # The cost of many to few is the rate of few to many.
    cost = lambda name: 1e9 / median(figures.all(name, "cpu_rate"))
    found = figures.ratio(few, "cpu_rate", many)
    yield (f"a forwarded packet, 10,000 VIPs{losses(figures, many)}", f"{number(cost(many))} ns", f"10 VIPs {number(cost(few))} ns", interval(found),
           "1.1 within", verdict(found[1] <= 1.1))
    yield from rates(figures, few, "established UDP, 10 VIPs", "a second", ((ONE, 0.95), (SPREAD, None), (RULES, None), (ROUTED, None)))


def connections(figures):
    yield from rates(figures, OURS, "new TCP connections, 1,000 services", "a second", ((ONE, 0.95), (SPREAD, None), (RULES, None), (CHAINS, None), (ROUTED, None)))


def rates(figures, name, what, unit, references):
    """By the clock, and by processor time, which others on the machine disturb less."""
    for figure, per in (("rate", unit), ("cpu_rate", f"{unit} of processor")):
        mine = median(figures.all(name, figure))
        for other, target in references:
            found = figures.ratio(name, figure, other)
            yield (what + losses(figures, name), f"{number(mine)} {per}", f"{other} {number(median(figures.all(other, figure)))}{losses(figures, other)}",
                   interval(found), f"{target} within" if target else "none", within(found, target) if target else "")


def losses(figures, name):
    """Nothing may fail; if it does, it is said."""
    failed = sum(figures.all(name, "failed"))
    return f" ({failed:,} of {failed + sum(figures.all(name, 'done')):,} failed)" if failed else ""
