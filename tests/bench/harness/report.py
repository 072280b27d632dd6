"""Markdown tables from the rows of results.jsonl."""
import json

from .figures import median, number, percentile, ratio, spread

# scenario: (title, parameters that make another table, columns as (title, figure, whether it gets a ratio))
TABLES = {
    "s1": ("S1: one VIP changed with the operator's tool", ("sinks", "base"), [
        ("announce ms", "announce_ms", True), ("withdraw ms", "withdraw_ms", True), ("tool itself ms", "tool_ms", False),
        ("RSS MiB", "rss_mib", True)]),
    "s1r": ("S1r: one prefix relayed", ("base",), [("announce ms", "announce_ms", True), ("withdraw ms", "withdraw_ms", True)]),
    "s2": ("S2: all VIPs to all sinks", ("count", "sinks"), [
        ("all sinks ms", "all_ms", True), ("load ms", "load_ms", False), ("CPU s", "cpu_s", True), ("peak MiB", "peak_mib", True),
        ("UPDATEs a sink", "updates_per_sink", False), ("load tool CPU s", "tool_cpu_s", False)]),
    "s3": ("S3: a table relayed; S4: its sources lost", ("prefixes", "sources", "sinks"), [
        ("sinks complete s", "complete_s", True), ("idle s", "idle_s", True), ("CPU s", "cpu_s", True),
        ("RSS MiB", "rss_mib", True), ("UPDATEs", "updates", False), ("S4 all withdrawn s", "lost_all_s", True),
        ("S4 CPU s", "lost_cpu_s", True), ("RSS after MiB", "lost_rss_mib", False), ("load tool CPU s", "tool_cpu_s", False)]),
    "s5": ("S5: many sessions at once", ("sessions", "hold_time"), [
        ("all Established ms", "all_ms", True), ("CPU s", "storm_cpu_s", True), ("idle CPU %", "idle_cpu_percent", True),
        ("RSS MiB", "rss_mib", True), ("attempts", "attempts", False)]),
    "s6": ("S6: start to Established", (), [
        ("ms", "established_ms", True), ("RSS MiB", "rss_mib", True), ("idle CPU %", "idle_cpu_percent", False)]),
    "s7": ("S7: link cut, BFD", ("interval", "multiplier"), [
        ("withdrawn at another peer ms", "withdraw_ms", True), ("out of the kernel ms", "kernel_ms", True),
        ("the cut itself ms", "cut_ms", False)]),
    "k1": ("K1: one learned route to the kernel", (), [("added ms", "add_ms", True), ("deleted ms", "delete_ms", True)]),
    "k2": ("K2: a learned table to the kernel", ("prefixes",), [
        ("all added s", "add_s", True), ("CPU s", "cpu_s", True), ("RSS MiB", "rss_mib", True), ("all deleted s", "delete_s", True)]),
    "fib": ("Kernel routes alone, without BGP: 100,000 routes over two next hops", (), [
        ("one route us", "one_us", False), ("its p99 us", "one_p99_us", False), ("all added ms", "added_ms", True),
        ("next hops changed ms", "changed_ms", True), ("all withdrawn ms", "withdrawn_ms", True)]),
    "nft": ("Service table alone: services of 10 endpoints", (), [
        (f"{what} {services:,} services {unit}", f"{figure}_{services}_{unit}", True)
        for what, figure, unit in (("one endpoint replaced at", "swap", "us"), ("full load of", "load", "ms"))
        for services in (1, 1000, 10_000)]),
    "k8s-change": ("In a cluster: a Service changed", ("changes",), [
        ("patch answered ms", "answered_ms", False), ("status written ms", "status_ms", False), ("slice written ms", "slice_ms", False),
        ("both ms", "both_ms", False), ("UPDATE at a peer ms", "update_ms", False),
        ("controller RSS MiB", "controller_rss_mib", False), ("router RSS MiB", "router_rss_mib", False)]),
    "k8s-scale": ("In a cluster: many Services and Pods", ("services", "pods", "others"), [
        ("reconcile s", "reconcile_s", False), ("its CPU s", "reconcile_cpu_s", False), ("needless writes", "needless_writes", False),
        ("slices a second", "rewritten_per_s", False), ("bare loop", "bare_per_s", False), ("ratio", "ratio", False),
        ("controller RSS MiB", "controller_rss_mib", False), ("after a restart", "controller_restarted_rss_mib", False),
        ("router RSS MiB", "router_rss_mib", False)]),
    "k8s-quiet": ("In a cluster: quiet", ("seconds",), [
        ("writes", "writes", False), ("controller RSS MiB", "controller_rss_mib", False), ("router RSS MiB", "router_rss_mib", False)]),
    "k8s-flap": ("In a cluster: sessions of many gateway pods flap", ("pods", "routers", "seconds"), [
        ("reports a second", "reports_per_s", False), ("status writes a second", "writes_per_s", False),
        ("most in a second", "most_in_a_second", False), ("largest object bytes", "largest_bytes", False),
        ("controller CPU s", "controller_cpu_s", False), ("controller RSS MiB", "controller_rss_mib", False)]),
    "ceiling": ("The load tool against itself", (), [("1M prefixes s", "complete_s", False), ("CPU s", "tool_cpu_s", False)]),
}

# Of single measurements, these are what users feel: their 99th percentile is told too.
TAILS = ("announce_ms", "withdraw_ms", "add_ms", "delete_ms")


def report(path, reference):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for scenario, (title, parameters, columns) in TABLES.items():
        mine = [row for row in rows if row["scenario"] == scenario]
        for values in sorted({tuple(row["parameters"].get(name) for name in parameters) for row in mine}, key=str):
            group = [row for row in mine if tuple(row["parameters"].get(name) for name in parameters) == values]
            said = ", ".join(f"{name} {value:,}" for name, value in zip(parameters, values))
            print(f"\n### {title}{': ' + said if said else ''}\n")
            print("\n".join(_table(group, columns, reference)))


def _table(rows, columns, reference):
    present = [column for column in columns if any(column[1] in row["figures"] for row in rows)]
    yield "| speaker | rounds | others' cores | " + " | ".join(title for title, _, _ in present) + " |"
    yield "|---|---|---|" + "---|" * len(present)
    by_speaker = {}
    for row in rows:
        by_speaker.setdefault(row["speaker"], []).append(row)
    other = next((name for name in by_speaker if name == reference), None) or next(
        (name for name in by_speaker if not name.startswith("l34")), None)
    for speaker, mine in by_speaker.items():
        good = [row for row in mine if "failed" not in row]
        version = mine[0]["version"]
        cells = [f"{speaker} {version}".strip(), str(len(good)), spread([row["others_cores"] or 0 for row in good]) if good else "-"]
        if not good:
            yield "| " + " | ".join(cells + ["failed: " + mine[0]["failed"][:80]]) + " |"
            continue
        for _, figure, _ in present:
            cells.append(_cell(good, figure))
        yield "| " + " | ".join(cells) + " |"
        if speaker.startswith("l34") and other and (pairs := _ratios(good, by_speaker[other], present)):
            yield f"| *{speaker} / {other}* | | | " + " | ".join(pairs) + " |"


def _cell(rows, figure):
    values = [value for row in rows for value in _list(row["figures"].get(figure))]
    if not values:
        return "-"
    tail = f", p99 {number(percentile(values, 99))}" if figure in TAILS and len(values) >= 50 else ""
    return spread(values) + tail


def _ratios(mine, theirs, columns):
    """Each round of ours against the same round of the other, which ran just before or after it."""
    theirs = {row["round"]: row["figures"] for row in theirs if "failed" not in row}
    cells = []
    for _, figure, wanted in columns:
        both = [(row["figures"], theirs[row["round"]]) for row in mine if row["round"] in theirs]
        pairs = [(median(_list(a[figure])), median(_list(b[figure]))) for a, b in both if _list(a.get(figure)) and _list(b.get(figure))]
        found = ratio(pairs) if wanted and pairs else None
        cells.append("{}x [{}-{}]".format(*(number(value) for value in found)) if found else "")
    return cells if any(cells) else []


def _list(value):
    return value if isinstance(value, list) else [] if value is None else [value]
