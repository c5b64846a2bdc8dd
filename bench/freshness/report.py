"""Format the findings of a run, and decide whether a guarantee was broken."""

from collections import Counter

from bench.freshness.run import Found

# Verdicts that the protocol allows; every other one breaks a guarantee.
ALLOWED = {"true", "older, marked unverified", "back, excused"}
PHASES = ("quiet", "fault", "after")
REDIS_UNAVAILABLE = {"redis-stopped", "redis-frozen"}
MOST_RISE_MS = 300


def broken(found: Found) -> dict[str, int]:
    """Return the broken guarantees and how often each was broken."""
    return {verdict: count for verdict, count in found.ledger.verdicts.items() if verdict not in ALLOWED and count}


def lines(found: Found) -> list[str]:
    """Return the report."""
    measurements, verdicts = found.measurements, found.ledger.verdicts
    written = measurements.marks["writes acknowledged"]
    reads, _ = measurements.reads_and_writes()
    return [
        f"fault {found.fault}: {found.rounds} rounds in {found.seconds:.0f} s, {found.rows} rows",
        f"  writes acknowledged {written} ({written / max(found.seconds, 1):.0f}/s), reads with a response {reads}",
        f"  stale {verdicts['stale']}, back {verdicts['back']}",
        *(f"  {verdict} {count}" for verdict, count in sorted(verdicts.items()) if verdict not in {"stale", "back"}),
        *(f"  {name} {count}" for name, count in sorted(measurements.marks.items()) if name != "writes acknowledged"),
        f"  responses: {', '.join(f'{status}: {count}' for status, count in sorted(measurements.statuses.items()))}",
        *_times(found),
        *_rise(found),
        *_metrics(found),
        *(f"  ! {example}" for example in found.ledger.examples),
        f"  {'BROKEN: ' + str(broken(found)) if broken(found) else 'every guarantee holds'}",
    ]


def _times(found: Found) -> list[str]:
    rows = []
    for what in ("read", "write"):
        for phase in PHASES:
            times = found.measurements.times.get((what, phase))
            if times is not None and times.count:
                p50, p99 = (times.percentile(part) * 1000 for part in (0.5, 0.99))
                worst = times.worst_s * 1000
                rows.append(
                    f"  {what}s, {phase}: {times.count}, p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms"
                )
    return rows


def _rise(found: Found) -> list[str]:
    """Return by how much the reads' p99 has risen while Redis was unavailable."""
    if found.fault not in REDIS_UNAVAILABLE:
        return []
    quiet, fault = (found.measurements.times["read", phase].percentile(0.99) * 1000 for phase in ("quiet", "fault"))
    word = "less" if fault - quiet < MOST_RISE_MS else "NOT less"
    return [f"  p99 of reads with Redis unavailable {fault - quiet:+.0f} ms: {word} than {MOST_RISE_MS} ms"]


def _metrics(found: Found) -> list[str]:
    rows = []
    for phase in PHASES:
        if counted := found.measurements.metrics.get(phase):
            servers, others = _by(counted, "reads_total", "server"), _by(counted, "freshness_", "")
            rows.append(
                f"  {phase}: cache {_rate(counted)}; uncached reads by server: {_joined(servers)}"
                + (f"; {_joined(others)}" if others else "")
            )
    families = _families(sum(found.measurements.metrics.values(), Counter()))
    return rows + ([f"  cache hits by family: {families}"] if families else [])


def _by(counted: Counter[str], name: str, label: str) -> Counter[str]:
    """Return the counters of a name by one of their labels, or by the remaining part of their name."""
    found: Counter[str] = Counter()
    prefix = f"campshub_{name}"
    for key, count in counted.items():
        if key.startswith(prefix) and count:
            found[key.partition(f'{label}="')[2].partition('"')[0] if label else key.removeprefix(prefix)] += count
    return found


def _joined(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "none"


def _rate(counted: Counter[str]) -> str:
    hits, misses = _by(counted, "cache_hits_total", "layer"), _by(counted, "cache_misses_total", "family").total()
    total = hits.total() + misses
    return (
        f"{hits.total()} hits ({_joined(hits)}), {misses} misses ({hits.total() / total:.2f})"
        if total
        else "not counted"
    )


def _families(counted: Counter[str]) -> str:
    hits, misses = (_by(counted, f"cache_{name}_total", "family") for name in ("hits", "misses"))
    return ", ".join(f"{name} {hits[name]} of {hits[name] + misses[name]}" for name in sorted({*hits, *misses}))
