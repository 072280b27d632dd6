"""Medians, spreads, and ratios with an interval."""
import random
import statistics

RESAMPLES = 2000


def median(values):
    return statistics.median(values)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * percent / 100)]


def ratio(pairs):
    """Median of a/b over the pairs of one round each, and its 95 % interval by the bootstrap over rounds."""
    ratios = [a / b for a, b in pairs if b]
    if not ratios:
        return None
    chance = random.Random(1)  # the same figures give the same interval
    medians = sorted(median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return median(ratios), medians[round(RESAMPLES * 0.025)], medians[round(RESAMPLES * 0.975) - 1]


def number(value):
    """Three figures are all that such a measurement has."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def spread(values):
    """`median (least-most)`."""
    middle, low, high = (number(value) for value in (median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"
