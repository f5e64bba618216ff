"""What several workloads do: sample trees, and timed reads and writes, by a mount or by curl."""

import os
import shutil
import subprocess
import time

from harness import MIB, SMALL, TIME_MAX, Mismatch, has_content, must_equal, run


def small_tree(path):
    path.mkdir()
    for name, bytes_ in SMALL.items():
        (path / name).write_bytes(bytes_)


def wide_tree(path):
    """51 directories, 1000 files of 0 to 999 bytes."""
    path.mkdir()
    for number in range(1000):
        (path / f"dir{number % 50:02}").mkdir(exist_ok=True)
        (path / f"dir{number % 50:02}" / f"file{number}").write_bytes(bytes(number))


def ls(path, *flags):
    """What `ls -l` prints about names and sizes of files."""
    output = subprocess.run(["ls", "-l", *flags, "."], cwd=path, check=True, capture_output=True, text=True,
                            timeout=TIME_MAX, env={**os.environ, "LC_ALL": "C"}).stdout
    fields = (line.split() for line in output.splitlines())
    return [(line[4] if line[0][0] == "-" else "", line[-1]) for line in fields if len(line) > 8]


def read_into(path, buffer):
    """Reads as `dd bs=1M` does, but into memory; making that would count, 20 ms for 64 MiB. Returns what was read."""
    buffer, at = memoryview(buffer), 0
    with open(path, "rb", buffering=0) as file:
        while at < len(buffer) and (count := file.readinto(buffer[at:at + MIB])):
            at += count
    return buffer[:at]


def timed_read(bench, directory, size):
    disk, buffer = bench.file(size), bytearray(size)
    bench.start()
    found = read_into(directory / disk.name, buffer)
    took = time.monotonic() - bench.started
    must_equal(found, memoryview(disk.read_bytes()), disk.name)
    return took


def timed_out(bench, directory, command, files):
    """A program copies each of these files out, all at once; the slowest counts."""
    target = bench.local / "out"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    script = f'for name in "$@"; do {command} & running+=($!); done; for one in "${{running[@]}}"; do wait "$one" || exit 1; done'
    bench.start()
    run(["bash", "-c", script, "bash", *(file.name for file in files)], cwd=directory, env={**os.environ, "OUT": str(target)})
    took = time.monotonic() - bench.started
    for file in files:
        if not has_content(target / file.name, memoryview(file.read_bytes())):
            raise Mismatch(file.name)
    shutil.rmtree(target)
    return took


def curl_read(bench, *more, size=64 * MIB):
    disk = bench.file(size)
    bench.start()
    bench.curl(*more, "-o", "/dev/null", bench.url(disk))
    return time.monotonic() - bench.started


def curl_list(bench, directory):
    """The server's own listing, in the form that a mount asks for."""
    form = [] if bench.options.server == "vsftpd" else ["-X", "MLSD"]
    bench.start()
    bench.curl(*form, "-o", "/dev/null", f"{bench.url(directory)}/")
    return time.monotonic() - bench.started


def curl_write(bench, data, *more, name="file", before=b""):
    incoming = bench.incoming()
    source = bench.source(data)
    if before:
        (incoming / name).write_bytes(before)
        bench.server.own(incoming)
    wanted = {incoming / name: before + data}
    bench.start()
    bench.curl(*more, "-T", source, bench.url(incoming / name))
    return bench.landed(wanted)
