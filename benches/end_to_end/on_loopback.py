"""The workloads without a link: how fast the filesystem itself is, what memory it takes, and how its cost grows."""

import os
import subprocess
import time

from harness import GIB, KIB, MIB, WORKLOADS, Workload, content, must_equal, run, workload
from reading import curl_list, curl_read, curl_write, ls


def rate(size, seconds):
    return size / 1e6 / seconds


def timed_dd(bench, source, target):
    bench.start()
    run(["dd", f"if={source}", f"of={target}", "bs=1M", "status=none"])
    return time.monotonic() - bench.started


def lo(title, bar=None, **more):
    return workload(title, None, bar, is_loopback=True, **more)


@lo("read 1 GiB", unit="MB/s", curl=lambda bench: rate(GIB, curl_read(bench, size=GIB)))
def lo_read(bench, directory):
    disk = bench.file(GIB)
    took = timed_dd(bench, directory / disk.name, "/dev/null")
    run(["cmp", disk, directory / disk.name])
    return rate(GIB, took)


def timed_program(bench, command):
    disk = bench.file(GIB)
    bench.start()
    run(["bash", "-c", command, "bash", bench.mount.path / disk.name])
    return rate(GIB, time.monotonic() - bench.started)


@lo("`cat` of 1 GiB", unit="MB/s")
def lo_cat(bench, directory):
    return timed_program(bench, 'cat "$1" >/dev/null')


@lo("`cp` of 1 GiB to nowhere", unit="MB/s")
def lo_cp(bench, directory):
    return timed_program(bench, 'cp "$1" /dev/null')


@lo("write 1 GiB: landed", unit="MB/s", curl=lambda bench: rate(GIB, curl_write(bench, content(GIB))))
def lo_write(bench, directory):
    wanted, source = {bench.incoming() / "file": content(GIB)}, bench.source(content(GIB))
    timed_dd(bench, source, directory / "in/file")
    return rate(GIB, bench.landed(wanted))


@lo("second read of 48 MiB, which fit the cache", unit="MB/s")
def lo_again(bench, directory):
    disk = bench.file(48 * MIB)
    timed_dd(bench, directory / disk.name, "/dev/null")
    return rate(48 * MIB, timed_dd(bench, directory / disk.name, "/dev/null"))


@lo("most memory while reading 4 GiB (bar: 128 beside 64 of cache)", 192, unit="MiB")
def lo_memory(bench, directory):
    disk = bench.file(4 * GIB)
    timed_dd(bench, directory / disk.name, "/dev/null")
    disk.unlink()
    return bench.mount.status("VmHWM")


@lo("growth of memory over the second half of 1,000,000 names walked", 32, unit="MiB")
def lo_walk(bench, directory):
    def many(path):
        for number in range(100):
            (path / f"{number:02}").mkdir(parents=True)
            for name in range(10_000):
                (path / f"{number:02}" / f"name{name}").touch()
    bench.once("many", many)
    sizes = []
    for half in ("[0-4]?", "[5-9]?"):
        run(["bash", "-c", f"find {half} -type f -size +0 | wc -l"], cwd=directory / "many", stdout=subprocess.DEVNULL)
        sizes.append(bench.mount.status("VmRSS"))
    return sizes[1] - sizes[0]


def empty_files(count):
    def make(path):
        path.mkdir()
        for number in range(count):
            (path / f"name{number:06}").touch()
    return make


def scaling():
    """Listings of 1k, 10k, 100k entries, one name of them, and files of 10 MiB, 1 GiB, 5 GiB: whole, and 4 KiB of them."""
    for count, bar in ((1_000, None), (10_000, None), (100_000, 1.5)):
        def list_all(bench, directory, count=count):
            bench.once(f"names-{count}", empty_files(count))
            bench.start()
            found = ls(directory / f"names-{count}")
            took = time.monotonic() - bench.started
            must_equal([name for _, name in found], [f"name{number:06}" for number in range(count)], "ls -l")
            return took

        def list_raw(bench, count=count):
            return curl_list(bench, bench.once(f"names-{count}", empty_files(count)))
        WORKLOADS[f"lo-ls-{count}"] = Workload(f"lo-ls-{count}", f"`ls -l` of {count} entries", list_all, bar=bar,
                                               curl=list_raw, is_loopback=True)
    for size, name in ((10 * MIB, "10 MiB"), (GIB, "1 GiB"), (5 * GIB, "5 GiB")):
        def read_all(bench, directory, size=size):
            disk = bench.file(size)
            return rate(size, timed_dd(bench, directory / disk.name, "/dev/null"))

        def read_middle(bench, directory, size=size):
            disk = bench.file(size)
            bench.start()
            with open(directory / disk.name, "rb", buffering=0) as file:
                found = os.pread(file.fileno(), 4 * KIB, size // 2)
            took = time.monotonic() - bench.started
            with open(disk, "rb") as file:
                must_equal(found, os.pread(file.fileno(), 4 * KIB, size // 2), "middle")
            return took
        short = name.replace(" ", "").lower()
        WORKLOADS[f"lo-all-{short}"] = Workload(f"lo-all-{short}", f"read {name}", read_all, unit="MB/s", is_loopback=True)
        WORKLOADS[f"lo-4k-{short}"] = Workload(f"lo-4k-{short}", f"4 KiB from the middle of {name}", read_middle, is_loopback=True)


scaling()
