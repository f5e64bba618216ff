"""The workloads over the slow link: what people do with a mount."""

import os
import random
import shutil
import subprocess
import threading
import time

from harness import KIB, MIB, SMALL, TIME_MAX, content, must_equal, run, wait_for, workload
from reading import curl_read, curl_write, ls, read_into, small_tree, timed_out, timed_read, wide_tree


@workload("`ls -lR` of 51 directories with 1000 files", (0, 10), 0.6)
def ls_r(bench, directory):
    disk = bench.once("wide", wide_tree)
    bench.start()
    found = ls(directory / "wide", "-R")
    took = time.monotonic() - bench.started
    must_equal(found, ls(disk, "-R"), "ls -lR")
    return took


@workload("`dd` read of 64 MiB", (64 * MIB, 0), 2.95, curl=curl_read)
def read(bench, directory):
    return timed_read(bench, directory, 64 * MIB)


CP, CAT = 'cp "$name" "$OUT/$name"', 'cat "$name" >"$OUT/$name"'


@workload("`cp` of 64 MiB out", (64 * MIB, 0), 3.0, curl=curl_read)
def cp_out(bench, directory):
    return timed_out(bench, directory, CP, [bench.file(64 * MIB)])


@workload("`cat` of 64 MiB", (64 * MIB, 0), 2.95, curl=curl_read)
def cat_out(bench, directory):
    return timed_out(bench, directory, CAT, [bench.file(64 * MIB)])


@workload("first 4 KiB of it, just mounted", (0, 2), 0.12, curl=lambda bench: curl_read(bench, "-r", "0-4095"))
def first(bench, directory):
    disk, buffer = bench.file(64 * MIB), bytearray(4 * KIB)
    bench.start()
    found = read_into(directory / disk.name, buffer)
    took = time.monotonic() - bench.started
    must_equal(found, content(64 * MIB)[:4 * KIB], "first 4 KiB")
    return took


@workload("`cat` of 200 files of 4 KiB", (0, 25), 1.2)
def cat(bench, directory):
    bench.once("small", small_tree)
    bench.start()
    found = subprocess.run("cat small/*", shell=True, cwd=directory, check=True, capture_output=True, timeout=TIME_MAX).stdout
    took = time.monotonic() - bench.started
    must_equal(found, b"".join(SMALL.values()), "cat")
    return took


@workload("`cp -r` of 200 files of 4 KiB out", (0, 25), 1.4)
def cp_r_out(bench, directory):
    bench.once("small", small_tree)
    target = bench.local / "out"
    shutil.rmtree(target, ignore_errors=True)
    bench.start()
    run(["cp", "-r", directory / "small", target])
    took = time.monotonic() - bench.started
    must_equal({path.name: path.read_bytes() for path in target.iterdir()}, SMALL, "cp -r")
    shutil.rmtree(target)
    return took


@workload("64 random 4 KiB reads in 64 MiB", (0, 64), 1.7)
def random_reads(bench, directory):
    disk = bench.file(64 * MIB)
    wanted, offsets = content(64 * MIB), random.Random(3).sample(range(0, 64 * MIB, 4 * KIB), 64)
    bench.start()
    with open(directory / disk.name, "rb", buffering=0) as file:
        found = [os.pread(file.fileno(), 4 * KIB, offset) for offset in offsets]
    took = time.monotonic() - bench.started
    must_equal(found, [wanted[offset:offset + 4 * KIB] for offset in offsets], "random reads")
    return took


def four_files(bench):
    return [bench.file(16 * MIB, f"four-{number}") for number in range(4)]


def curl_four(bench):
    files = four_files(bench)
    bench.start()
    bench.curl("-Z", *(part for file in files for part in ("-o", "/dev/null", bench.url(file))))
    return time.monotonic() - bench.started


@workload("four files of 16 MiB read at once", (64 * MIB, 0), 3.0, curl=curl_four)
def four(bench, directory):
    files, found = four_files(bench), {}

    def read_one(name, buffer):
        found[name] = read_into(directory / name, buffer)
    threads = [threading.Thread(target=read_one, args=(file.name, bytearray(16 * MIB))) for file in files]
    bench.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - bench.started
    for file in files:
        must_equal(found.get(file.name, b""), file.read_bytes(), file.name)
    return took


@workload("four files of 16 MiB by `cp` at once", (64 * MIB, 0), 3.0, curl=curl_four)
def four_cp(bench, directory):
    return timed_out(bench, directory, CP, four_files(bench))


@workload("four files of 16 MiB by `cat` at once", (64 * MIB, 0), 3.0, curl=curl_four)
def four_cat(bench, directory):
    return timed_out(bench, directory, CAT, four_files(bench))


@workload("`cp` of 64 MiB in", (64 * MIB, 0), 3.0, curl=lambda bench: curl_write(bench, content(64 * MIB)))
def cp(bench, directory):
    source, wanted = bench.source(content(64 * MIB)), {bench.incoming() / "file": content(64 * MIB)}
    bench.start()
    run(["cp", source, directory / "in/file"])
    return bench.landed(wanted)


def small_incoming(bench):
    """The 200 files to be copied, and what is to land."""
    target, source = bench.incoming() / "small", bench.local / "small"
    shutil.rmtree(source, ignore_errors=True)
    small_tree(source)
    return {target / name: bytes_ for name, bytes_ in SMALL.items()}


@workload("`cp -r` of 200 files of 4 KiB in", (0, 200), 5.0)
def cp_r(bench, directory):
    wanted = small_incoming(bench)
    bench.start()
    run(["cp", "-r", bench.local / "small", directory / "in"])
    return bench.landed(wanted)


@workload("`tar x` of the same", (0, 200), 5.5)
def tar(bench, directory):
    wanted, archive = small_incoming(bench), bench.local / "small.tar"
    run(["tar", "cf", archive, "-C", bench.local, "small"])
    bench.start()
    run(["tar", "xf", archive, "-C", directory / "in"])
    return bench.landed(wanted)


def large_incoming(bench):
    target = bench.incoming()
    (target / "file").write_bytes(content(64 * MIB))
    bench.server.own(target)
    return target / "file"


def curl_append(bench):
    return curl_write(bench, content(4 * KIB, 5), "-a", before=content(64 * MIB))


@workload("append 4 KiB to 64 MiB", (0, 3), 0.25, curl=curl_append)
def append(bench, directory):
    piece = content(4 * KIB, 5)
    wanted = {large_incoming(bench): content(64 * MIB) + piece}
    bench.start()
    with open(directory / "in/file", "ab", buffering=0) as file:
        file.write(piece)
    return bench.landed(wanted)


@workload("overwrite 4 KiB inside 64 MiB", (0, 3), 0.35)
def patch(bench, directory):
    piece, at, before = content(4 * KIB, 5), 32 * MIB, content(64 * MIB)
    wanted = {large_incoming(bench): before[:at] + piece + before[at + len(piece):]}
    bench.start()
    with open(directory / "in/file", "r+b", buffering=0) as file:
        file.seek(at)
        file.write(piece)
    return bench.landed(wanted)


@workload("`rm -r` of 200 files", (0, 200), 4.4)
def rm(bench, directory):
    target = bench.incoming()
    small_tree(target / "small")
    bench.server.own(target)
    bench.start()
    run(["rm", "-r", directory / "in/small"])
    bench.returned = time.monotonic() - bench.started
    return wait_for("removal", lambda: not (target / "small").exists()) - bench.started


@workload("ten `mv`", (0, 10), 0.35)
def mv(bench, directory):
    target = bench.incoming()
    for number in range(10):
        (target / f"old{number}").write_bytes(SMALL[f"file{number:03}"])
    bench.server.own(target)
    bench.start()
    run(["bash", "-c", "for n in {0..9}; do mv old$n new$n || exit 1; done"], cwd=directory / "in")
    took = bench.landed({target / f"new{number}": SMALL[f"file{number:03}"] for number in range(10)})
    must_equal(sorted(path.name for path in target.iterdir()), [f"new{number}" for number in range(10)], "mv")
    return took


@workload("64 MiB read over a link that loses packets", None, 36, curl=curl_read)
def loss(bench, directory):
    return timed_read(bench, directory, 64 * MIB)
