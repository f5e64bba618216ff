"""Measures ftpfs beside its peers from outside, workload by workload. scripts/bench starts it, with link and programs in place.

Every run has a fresh mount and cold caches; what ftpfs has learnt of the server is kept from one to the next, unless
--no-profile is given. What was read is compared with the server's disk, and what was written has
landed when the server's own file is complete and right: that moment, or the program's return if it is later, is the time.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys

import on_loopback  # noqa: F401
import over_link  # noqa: F401
from harness import WORKLOADS, Bench, Mismatch, Mount, run


def measure(bench, work, subject):
    """One run; None where the subject cannot do it."""
    bench.workload, bench.returned = work, None
    if subject == "curl":
        return work.curl(bench) if work.curl else None
    with Mount(bench, subject) as bench.mount:
        return work.measure(bench, bench.mount.path)


def make_cold(bench, work):
    """What one run has taught the kernel is not for the next: pages, and TCP's memory of the path."""
    run(["sync"])
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    for name in (bench.options.client_netns, bench.options.server_netns):
        if name:
            run(["ip", "-n", name, "tcp_metrics", "flush"], stderr=subprocess.DEVNULL)


class Tally:
    """What the runs of one subject have brought."""

    def __init__(self):
        self.figures, self.returned, self.errors = [], [], []

    def add(self, bench, work, subject):
        """One more run."""
        make_cold(bench, work)
        try:
            figure = measure(bench, work, subject)
        except (OSError, RuntimeError, Mismatch, subprocess.SubprocessError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            print(f"  {work.name}, {subject}: {self.errors[-1]}", file=sys.stderr)
            return
        if figure is not None:
            self.figures.append(figure)
            if bench.returned is not None:
                self.returned.append(bench.returned)

    def result(self):
        if not self.figures and not self.errors:
            return None
        return {"median": statistics.median(self.figures) if self.figures else None, "runs": self.figures,
                "returned": statistics.median(self.returned) if self.returned else None, "errors": self.errors}


def compare(bench, work, subjects, runs):
    """The subjects in turn, so that what the machine does meanwhile meets them all."""
    if work.unit == "MB/s":
        # Uncounted. In a virtual machine the first use of memory costs more than what is measured, and a mount takes most of it:
        # 3 GiB for a write of 1 GiB. Where the host takes free memory back at once (free page reporting), each run is such a first
        # one: there a write was seen at 380 to 660 MB/s, and at 1230 to 1390 MB/s with the memory left in place.
        for subject in subjects:
            Tally().add(bench, work, subject)
    tallies = {subject: Tally() for subject in subjects}
    for _ in range(runs):
        for subject, tally in tallies.items():
            tally.add(bench, work, subject)
    return {subject: tally.result() for subject, tally in tallies.items()}


def limit_of(work, options):
    if not work.limit or work.is_loopback:
        return None
    size, trips = work.limit
    return size * 8 / (options.rate * 1e6) + trips * options.rtt / 1000


def bar_of(work, options, results):
    """The bars are for one link and ProFTPD; others get half as much again."""
    if work.name == "loss":
        is_its_link = (options.rtt, options.rate, options.loss) == (100, 100, 0.5)
    else:
        is_its_link = work.is_loopback or (options.rtt, options.rate, options.loss) == (20, 200, 0)
    if not work.bar or not is_its_link or (work.name == "patch" and options.server == "pure-ftpd"):
        return None
    if work.name == "lo-ls-100000" and options.server == "proftpd":
        # Its MLSD alone takes longer than the bar; the filesystem may add a second.
        alone = results.get("curl")
        return alone and alone["median"] and alone["median"] + 1
    return work.bar * (1 if options.server == "proftpd" or work.is_loopback else 1.5)


def row(work, results, limit, bar, subjects):
    def text(number):
        return "-" if number is None else f"{number:.3g}" if number < 100 else f"{number:.0f}"
    medians = {subject: result and result["median"] for subject, result in results.items()}
    mine = medians.get("ftpfs")
    others = [value for subject, value in medians.items() if subject != "ftpfs" and value]
    is_rate = work.unit == "MB/s"
    best = (max if is_rate else min)(others, default=None)
    to_peer = best and mine and (mine / best if is_rate else best / mine)
    verdict = "" if not (bar and mine) else "ok" if (mine >= bar if is_rate else mine <= bar) else "SHORT"
    cells = [f"{work.title} ({work.unit})", text(limit), *(text(medians.get(subject)) for subject in subjects),
             to_peer and f"{to_peer:.1f}x" or "-", limit and mine and f"{mine / limit:.2f}" or "-", text(bar), verdict]
    return "| " + " | ".join(cells) + " |"


def parse_options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("server", "peers", "work", "ftpfs", "rclone", "workloads", "json", "trace", "client-netns", "server-netns"):
        parser.add_argument(f"--{name}")
    for name in ("rtt", "rate", "loss"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--runs", type=int, default=3)
    for name in ("loopback", "tls", "no-profile"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


def chosen_workloads(options):
    if options.workloads:
        unknown = set(options.workloads.split(",")) - set(WORKLOADS)
        if unknown:
            sys.exit(f"scripts/bench: no workload {', '.join(sorted(unknown))}; known: {' '.join(WORKLOADS)}")
        return [WORKLOADS[name] for name in options.workloads.split(",")]
    if options.loss:
        return [WORKLOADS["loss"]]
    return [work for work in WORKLOADS.values() if work.is_loopback == options.loopback and work.name != "loss"]


def main():
    options = parse_options()
    if options.workloads == "list":
        return print("\n".join(f"{work.name:14} {work.title}" for work in WORKLOADS.values()))
    works = chosen_workloads(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peers = [peer for peer in options.peers.split(",") if peer != "none" and (options.rclone or not peer.startswith("rclone"))]
    subjects = ["ftpfs", *peers]
    if options.trace:
        os.makedirs(options.trace, exist_ok=True)
    bench, document = Bench(options), []
    link = "loopback" if options.loopback else f"{options.rtt:g} ms, {options.rate:g} Mbit/s, {options.loss:g} % loss"
    print(f"{options.server}{' with TLS' if options.tls else ''}, {link}, median of {options.runs}\n", flush=True)
    print("| workload | limit | " + " | ".join(subjects) + " | to best peer | to limit | bar | |")
    print("|---|" + "---|" * (len(subjects) + 5), flush=True)
    try:
        for work in works:
            results = compare(bench, work, subjects, options.runs)
            limit, bar = limit_of(work, options), bar_of(work, options, results)
            print(row(work, results, limit, bar, subjects), flush=True)
            document.append({"workload": work.name, "title": work.title, "unit": work.unit, "limit": limit, "bar": bar,
                             "results": results})
    finally:
        bench.server.stop()
        if options.json:
            described = {name: getattr(options, name) for name in ("server", "tls", "no_profile", "rtt", "rate", "loss", "loopback", "runs")}
            pathlib.Path(options.json).write_text(json.dumps({**described, "workloads": document}, indent=1) + "\n")


if __name__ == "__main__":
    main()
