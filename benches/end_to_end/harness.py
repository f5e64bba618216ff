"""What the workloads stand on: the server, fresh mounts, files on both sides, and the moment at which a file has landed."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import zlib
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# What a run may take; the slowest, one stream with 0.5 % loss, needs 270 s.
TIME_MAX = 600
# How often the server's disk is looked at.
POLL = 0.002
SMALL = {f"file{n:03}": random.Random(n).randbytes(4 * KIB) for n in range(200)}


def wait_for(what, condition, timeout=TIME_MAX, interval=POLL):
    """The moment at which `condition` began to hold."""
    end = time.monotonic() + timeout
    while True:
        now = time.monotonic()
        if condition():
            return now
        if now > end:
            raise TimeoutError(what)
        time.sleep(interval)


def run(command, **kwargs):
    """Runs a program, and returns when it has ended: subprocess's own wait with a time-out looks every 50 ms."""
    with subprocess.Popen([str(part) for part in command], **kwargs) as process:
        ended = os.pidfd_open(process.pid)
        try:
            if not select.select([ended], [], [], TIME_MAX)[0]:
                process.kill()
                raise subprocess.TimeoutExpired(command, TIME_MAX)
        finally:
            os.close(ended)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


@functools.lru_cache(maxsize=4)
def content(size, seed=7):
    """Random bytes; those of a large file repeat after 64 MiB and a bit, so that no two blocks of it are alike."""
    piece = random.Random(seed).randbytes(min(size, 64 * MIB + 4093))
    return (piece * (size // len(piece) + 1))[:size] if size <= GIB else piece


def write_large(path, size):
    piece, left = content(size), size
    with open(path, "wb") as file:
        while left:
            left -= file.write(piece[:left])


class Mismatch(Exception):
    """What came out is not what went in."""


def has_content(path, wanted):
    """Compares piece by piece: memory that the comparison takes is missing, or not in place yet, in the next run."""
    wanted, at, piece = memoryview(wanted), 0, bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(piece):
            if memoryview(piece)[:count] != wanted[at:at + count]:
                return False
            at += count
    return at == len(wanted)


def must_equal(found, wanted, what):
    if found != wanted:
        raise Mismatch(f"{what}: {len(found)} bytes or entries that are not the server's {len(wanted)}")


# --- server, mounts --------------------------------------------------------------------------------------------------


def in_netns(name, command):
    return ["nsenter", f"--net=/var/run/netns/{name}", *command] if name else command


def descendants(pid):
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, pathlib.Path(f"/proc/{parent}/task/{task}/children").read_text().split())
    return found


class Server:
    """An FTP server on the far side of the link."""

    def __init__(self, options, root):
        root.mkdir()
        address = "10.99.0.2" if options.server_netns else "127.0.0.1"
        name = options.server + ("-tls" if options.tls else "")
        command = [HERE / "scripts/servers", "start", name, "0", root]
        self.process = subprocess.Popen(
            in_netns(options.server_netns, command), stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "FTPFS_SERVERS_ADDRESS": address})
        told = {}
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            told[word] = rest
            if word == "ready":
                break
        if "ready" not in told:
            sys.exit("scripts/bench: the server has not started")
        self.url, self.root, self.address, self.authority = told["ready"], root, address, told.get("ca")
        self.port = self.url.rstrip("/").rsplit(":", 1)[1]

    def own(self, path):
        """Gives what was put on the disk to the server's user."""
        user = self.root.stat()
        os.chown(path, user.st_uid, user.st_gid)
        for place, dirs, files in os.walk(path):
            for name in dirs + files:
                os.chown(os.path.join(place, name), user.st_uid, user.st_gid)

    def stop(self):
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def is_mounted(path):
    return any(line.split()[4] == str(path) for line in open("/proc/self/mountinfo"))


class Mount:
    """A fresh mount with cold caches; `process` is the filesystem."""

    def __init__(self, bench, subject):
        self.bench, self.home = bench, bench.work / "home"
        self.path = bench.work / "mnt"
        self.path.mkdir(exist_ok=True)
        self.home.mkdir()
        options = bench.options
        if subject == "ftpfs":
            command = [options.ftpfs, "-f", bench.server.url, self.path]
            if options.tls:
                command += ["--ca-file", bench.server.authority]
            if options.no_profile:
                command += ["--no-profile"]
            if options.trace:
                bench.trace_number += 1
                name = f"{bench.trace_number:03}-{bench.workload.name}.log"
                command += ["--log-file", pathlib.Path(options.trace).resolve() / name]
        else:
            mode = "off" if subject == "rclone-off" else "full"
            command = [options.rclone, "mount", ":ftp:/", self.path, "--ftp-host", bench.server.address, "--ftp-port",
                       bench.server.port, "--ftp-user", "ftpfs-test", "--ftp-pass", bench.obscured, "--vfs-cache-mode", mode,
                       "--vfs-write-back", "0s", "--cache-dir", self.home / "cache", "--config", self.home / "none"]
            if options.tls:
                command += ["--ftp-explicit-tls", "--ca-cert", bench.server.authority]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache"),
                       # What was learnt of the server stays, as it does for users.
                       "XDG_STATE_HOME": str(bench.work / "state")}
        if options.trace:
            environment["FTPFS_LOG"] = "ftpfs=trace"
        self.log = open(bench.work / "mount.log", "w+")
        self.process = subprocess.Popen(
            [str(part) for part in in_netns(options.client_netns, command)], env=environment, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self):
        def is_there():
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(f"the mount has ended: {self.log.read()[-500:]}")
            return is_mounted(self.path)
        try:
            wait_for("the mount", is_there, timeout=30, interval=0.001)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end = time.monotonic() + 60
        while is_mounted(self.path) and time.monotonic() < end:
            if subprocess.run(["umount", self.path], capture_output=True).returncode:
                time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", "-l", self.path], capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def status(self, name):
        """A figure of the process in MiB, such as VmHWM, the most memory it ever had."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


# --- workloads -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Workload:
    """`measure(bench, directory)` returns the figure; `limit` is (bytes, round trips) or None."""
    name: str
    title: str
    measure: Callable
    limit: tuple = None
    bar: float = None
    curl: Callable = None
    unit: str = "s"
    is_loopback: bool = False


WORKLOADS = {}


def workload(title, limit=None, bar=None, **more):
    def register(function):
        name = function.__name__.replace("_", "-")
        WORKLOADS[name] = Workload(name, title, function, limit, bar, **more)
        return function
    return register


class Bench:
    """What the workloads stand on."""

    def __init__(self, options):
        self.options, self.work = options, pathlib.Path(options.work)
        self.memory = self.work / "memory"
        self.local = self.memory / "local"
        self.local.mkdir()
        self.server = Server(options, self.memory / "server")
        self.disk, self.mount, self.trace_number = self.server.root, None, 0
        self.workload, self.returned = None, None
        if options.rclone:
            command = [options.rclone, "obscure", "sesame"]
            self.obscured = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def once(self, name, make):
        """A file or directory on the server's disk, made at its first use."""
        path = self.disk / name
        if not path.exists():
            make(path)
            self.server.own(path)
        return path

    def file(self, size, name=None):
        return self.once(name or f"file-{size}", lambda path: write_large(path, size))

    def source(self, data):
        """A local file with this content, made at its first use."""
        path = self.local / f"source-{len(data)}-{zlib.crc32(data[:4 * KIB]):08x}"
        if not path.exists():
            path.write_bytes(data)
        return path

    def incoming(self):
        """An empty directory on the server's disk."""
        path = self.disk / "in"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        self.server.own(path)
        return path

    def start(self):
        self.started = time.monotonic()
        return self.started

    def landed(self, files):
        """Seconds from the start until the program had returned and the server's disk held these contents."""
        self.returned = time.monotonic() - self.started
        waiting = dict(files)

        def is_right(path, wanted):
            try:
                return path.stat().st_size == len(wanted) and has_content(path, wanted)
            except OSError:
                return False

        def are_right():
            for path in list(waiting):
                if not is_right(path, waiting[path]):
                    return False
                del waiting[path]
            return True
        return wait_for(f"{len(waiting)} files on the server's disk", are_right) - self.started

    def curl(self, *arguments):
        secure = ["--ssl-reqd", "--cacert", self.server.authority] if self.options.tls else []
        command = ["curl", "-sS", "--ftp-method", "nocwd", *secure, *arguments]
        # curl -Z draws its progress even when it is told not to.
        with open(self.work / "curl.log", "w") as log:
            run(in_netns(self.options.client_netns, command), stdout=subprocess.DEVNULL, stderr=log)

    def url(self, path):
        return self.server.url + str(path.relative_to(self.disk))
