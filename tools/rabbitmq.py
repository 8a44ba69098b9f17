#!/usr/bin/env python3
# -*- test-case-name: txpika.test.test_broker_tool -*-
"""
Starts and stops a private RabbitMQ: own node name, ports, folders, cookie and epmd, on 127.0.0.1 only.

        python tools/rabbitmq.py ensure           exit 0 if RabbitMQ is installed, else try to install it
    python tools/rabbitmq.py run -- CMD...    start a node, run CMD with TXPIKA_TEST_URI set, remove the node

Tests, demo and benchmarks all get their broker here. This file owns the node's life and everything it leaves behind; it
knows nothing of txpika and needs only the standard library, so that any Python 3.11 can run it before a venv exists.

How nothing is left behind: a second process, the guard, waits on a pipe that only this process holds. When this process
ends, in whatever way, the pipe closes; the guard then kills what is still running and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

#: Seconds a node may take to answer on its port. A node on two busy cores takes about ten.
START_DEADLINE = 60.0

#: Seconds a node may take to stop by itself before it is killed.
STOP_DEADLINE = 30.0

#: Seconds one rabbitmqctl call may take; each boots its own Erlang machine (one to three seconds).
CTL_DEADLINE = 60.0

#: Seconds the command under C{run} has to end after a signal before it is killed.
GRACE = 10.0

#: Ports are drawn from here: below Linux's range for outgoing connections (32768 to 60999), so that no passing
#: connection takes the port of a node that is stopped and started again.
PORTS = range(20000, 32000)

#: Debian's real scripts. Its /usr/sbin/rabbitmq-server insists on the user "rabbitmq" and the machine's own folders.
DEBIAN_SCRIPTS = Path("/usr/lib/rabbitmq/bin")

#: Where Debian's wrapper is.
WRAPPER_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")

#: Where servers that are not on an ordinary user's PATH are found.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/sbin")

#: Installs packages without starting the services in them.
INSTALL_SCRIPT = Path(__file__).resolve().with_name("install_packages.sh")

HOW_TO_INSTALL = "RabbitMQ is missing; install rabbitmq-server (Debian, Ubuntu: apt-get install rabbitmq-server)"


class RabbitMQError(Exception):
    """RabbitMQ is missing, does not start, or refused a command. The text says which, and what RabbitMQ said."""


# -- finding the programs ---------------------------------------------------------------------------------------------


def search_path() -> str:
    """The caller's PATH, followed by the folders of system programs."""
    return os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])


def find_server() -> Path | None:
    """
    The rabbitmq-server script to call.

    @return: The first one on the path; in place of Debian's wrapper, the script that it wraps.
    """
    found = shutil.which("rabbitmq-server", path=search_path())
    real = DEBIAN_SCRIPTS / "rabbitmq-server"
    if real.exists() and (found is None or os.path.dirname(found) in WRAPPER_FOLDERS):
        return real
    return None if found is None else Path(found)


def find_epmd() -> str:
    """
    Erlang's port mapper, from PATH or from next to C{erl}.

    @raise RabbitMQError: There is none.
    """
    found = shutil.which("epmd", path=search_path())
    if found is None and (erl := shutil.which("erl", path=search_path())) is not None:
        beside = sorted(Path(erl).resolve().parent.parent.glob("erts-*/bin/epmd"))
        found = str(beside[-1]) if beside else None
    if found is None:
        raise RabbitMQError("Erlang's epmd is missing: it comes with Erlang, on PATH or beside erl")
    return found


def choose_ports(count: int) -> list[int]:
    """
    Ports of 127.0.0.1 on which nobody listens now.

    @param count: How many, all different.
    @raise RabbitMQError: There are not that many.
    """
    chosen: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise RabbitMQError(f"no {count} free ports between {PORTS.start} and {PORTS.stop} on 127.0.0.1")


# -- ending processes -------------------------------------------------------------------------------------------------


def end(targets: Mapping[int, int]) -> None:
    """
    Send each target the signal that ends it, and wait until all are gone, for up to 2 seconds.

    @param targets: Signals by process number; a negative number means all processes of that group, as in kill(2).
    """
    deadline = time.monotonic() + 2
    for target, number in targets.items():
        with contextlib.suppress(OSError):
            os.kill(target, number)
    for target in targets:
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                os.kill(target, 0)
                time.sleep(0.02)


def remove_folder(folder: Path) -> None:
    """Remove a folder in which a process that was just killed may still be writing its last file."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def guard(folder: Path) -> int:
    """
    Read C{SIGNAL TARGET} lines until the pipe closes, L{end} the targets, then remove C{folder}.

    Signal 0 takes a target off the list. The last one listed is the first to be ended.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    wanted: dict[int, int] = {}
    for line in sys.stdin:
        number, target = map(int, line.split())
        wanted[target] = number
    end({target: number for target, number in reversed(wanted.items()) if number})
    remove_folder(folder)
    return 0


class Guard:
    """The guard process, as its owner sees it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", os.path.abspath(__file__), "guard", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def watch(self, target: int, last_signal: int) -> None:
        """If this process dies, L{end} C{target} with C{last_signal}; 0 to stop watching it."""
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.write(f"{int(last_signal)} {target}\n".encode())
            pipe.flush()

    def finish(self) -> None:
        """Let it do its work and wait until it has."""
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()
        self._process.wait()


# -- the node ---------------------------------------------------------------------------------------------------------


class PrivateRabbitMQ:
    """
    One RabbitMQ node of our own. As a context manager it is started on entry and removed on exit.

    @ivar port: Its AMQP port on 127.0.0.1.
    @ivar node: Its Erlang node name.
    @ivar folder: Holds everything it writes; C{folder / "ctl"} is rabbitmqctl, ready to use on this node.
    @ivar uri: C{amqp://user:password@127.0.0.1:port/%2F}, of a user who may do everything in the vhost "/".
    """

    def __init__(self, config: str = "") -> None:
        """
        @param config: More lines for rabbitmq.conf.
        @raise RabbitMQError: RabbitMQ or Erlang is not installed.
        """
        server = find_server()
        if server is None:
            raise RabbitMQError(HOW_TO_INSTALL)
        self._server = server
        self._epmd_program = find_epmd()
        self._config = config
        self._user, self._password = "txpika", secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self.node = f"txpika-{os.getpid()}-{secrets.token_hex(3)}@localhost"
        temp = tempfile.gettempdir()
        # RabbitMQ's shell scripts split paths at blanks.
        self.folder = Path(tempfile.mkdtemp(prefix="txpika-rabbitmq-", dir="/tmp" if " " in temp else temp))
        self._guard = Guard(self.folder)
        self._prepare_folder()

    @property
    def uri(self) -> str:
        return f"amqp://{self._user}:{self._password}@127.0.0.1:{self.port}/%2F"

    @property
    def pid(self) -> int | None:
        """Process number of the running node's Erlang machine, None while it is stopped."""
        return None if self._process is None else int((self.folder / "node.pid").read_text())

    @property
    def environment(self) -> dict[str, str]:
        """What C{txpika.test.broker} reads."""
        return {
            "TXPIKA_TEST_URI": self.uri,
            "TXPIKA_TEST_NODE": self.node,
            "TXPIKA_TEST_BASE": str(self.folder),
        }

    def __enter__(self) -> PrivateRabbitMQ:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """
        Start the node, and return when it speaks AMQP. After L{stop} or L{kill9}: on the same ports, with its data.

        @param give_up: Asked often while waiting; true ends the wait.
        @raise RabbitMQError: It did not start; everything has then been removed.
        """
        first = not (self.folder / "data").exists()
        try:
            for tries_left in (2, 1, 0):
                try:
                    self._start_once(give_up)
                    return
                except RabbitMQError as error:
                    # Another program took a port between our look and the node's bind: only a new node may move.
                    if not first or not tries_left or "eaddrinuse" not in str(error):
                        raise
                    self._end_processes()
                    self._prepare_folder()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stop the node cleanly; its data stays for the next L{start}."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_DEADLINE)
            self.kill9()

    def kill9(self) -> None:
        """End the node as a power cut would."""
        self._kill_group(self._process)
        self._process = None

    def pause(self) -> None:
        """Freeze the node: its connections stay open and silent."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo L{pause}."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        """
        Run C{rabbitmqctl --silent} on this node.

        @return: What it printed: rows only, columns separated by tabs.
        @raise RabbitMQError: It failed; the text is what it said.
        """
        done = subprocess.run(
            [str(self.folder / "ctl"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_DEADLINE,
        )
        if done.returncode:
            raise RabbitMQError(f"rabbitmqctl {' '.join(arguments[:1])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def watch(self, pid: int, last_signal: int) -> None:
        """If this process dies, send C{last_signal} to C{pid}, then remove the node; 0 to stop watching."""
        self._guard.watch(pid, last_signal)

    def close(self) -> None:
        """Remove the node and all that it left. Harmless the second time."""
        self._end_processes()
        remove_folder(self.folder)
        self._guard.finish()

    # -- how it is done

    def _prepare_folder(self) -> None:
        """Choose ports, and write every file that a node and its rabbitmqctl read."""
        self.port, self._dist_port, self._epmd_port = choose_ports(3)
        remove_folder(self.folder / "data")
        for name in ("home", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq-env.conf").write_text("")
        # Even a machine without /etc/hosts knows the node's host.
        inetrc = '{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n'
        (self.folder / "inetrc").write_text(inetrc)
        lines = [
            f"listeners.tcp.local = 127.0.0.1:{self.port}",
            f"default_user = {self._user}",
            f"default_pass = {self._password}",
            "heartbeat = 60",
            "# A nearly full disk is no reason to block the publishers of a test.",
            "disk_free_limit.absolute = 50MB",
            "log.console = false",
            "log.file = node.log",
            self._config,
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self._node_environment().items())
        program = self._server.with_name("rabbitmqctl")
        ctl = self.folder / "ctl"
        ctl.write_text(f'#!/bin/sh\nexec env -i {variables} {program} --silent -n {self.node} "$@"\n')
        ctl.chmod(0o700)

    def _node_environment(self) -> dict[str, str]:
        """The whole environment of node and rabbitmqctl: nothing of the caller's but PATH reaches them."""
        folder = str(self.folder)
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "HOME": f"{folder}/home",
            "TMPDIR": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_INETRC": f"{folder}/inetrc",
            "ERL_CRASH_DUMP_BYTES": "0",
            # The epmd above is the only one: a node that misses it must not start another, which nobody would stop.
            "ERL_AFLAGS": "-start_epmd false",
            # Tells RabbitMQ's script to become the Erlang machine instead of staying around as its parent.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/node.pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
        }

    def _start_once(self, give_up: Callable[[], bool]) -> None:
        if self._process is not None:
            raise RabbitMQError(f"{self.node} is started already")
        if self._epmd is None or self._epmd.poll() is not None:
            self._epmd = self._spawn([self._epmd_program, "-port", str(self._epmd_port), "-address", "127.0.0.1"])
        self._process = self._spawn([str(self._server)])
        deadline = time.monotonic() + START_DEADLINE
        while not self._speaks_amqp():
            if (status := self._process.poll()) is not None:
                raise RabbitMQError(f"RabbitMQ ended with status {status} while starting\n{self._log_tail()}")
            if give_up():
                raise RabbitMQError("RabbitMQ was not waited for")
            if time.monotonic() > deadline:
                raise RabbitMQError(f"RabbitMQ is not up after {START_DEADLINE:.0f} s\n{self._log_tail()}")
            time.sleep(0.05)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """
        Start a program of the node.

        In its own session: Ctrl-C on a terminal does not reach it, and its process group is the shell script that was
        called, the Erlang machine below it, and nothing else.
        """
        with open(self.folder / "log" / "console.log", "ab") as output:
            process = subprocess.Popen(
                command,
                env=self._node_environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard.watch(-process.pid, signal.SIGKILL)
        return process

    def _kill_group(self, leader: subprocess.Popen[bytes] | None) -> None:
        """Kill what L{_spawn} started, and wait until all of it is gone."""
        if leader is not None:
            with contextlib.suppress(OSError):
                os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()
            end({-leader.pid: signal.SIGKILL})
            self._guard.watch(-leader.pid, 0)

    def _speaks_amqp(self) -> bool:
        """Whether the port answers a protocol header with a method frame."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def _log_tail(self) -> str:
        """The last lines the node wrote."""
        lines: list[str] = []
        for name in ("console.log", "node.log"):
            with contextlib.suppress(OSError):
                lines += (self.folder / "log" / name).read_text(errors="replace").splitlines()[-40:]
        return "\n".join(f"    {line}" for line in lines if line.strip())

    def _end_processes(self) -> None:
        """Kill node and epmd. Their folder is about to go, so there is nothing to save."""
        self.kill9()
        self._kill_group(self._epmd)
        self._epmd = None


# -- commands ---------------------------------------------------------------------------------------------------------


class Signals:
    """
    SIGINT, SIGTERM and SIGHUP while a command runs: passed on to it, so that it ends and the node can be removed.

    @ivar caught: The first one, 0 for none so far.
    """

    def __init__(self) -> None:
        self.caught = 0
        self._child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._catch)

    def pass_on_to(self, child: subprocess.Popen[bytes]) -> None:
        """From now on pass signals on to C{child}. One that came before is passed on at once."""
        self._child = child
        if self.caught:
            self._pass_on(self.caught)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or number
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._child is None:
            return
        # A terminal's Ctrl-C has already reached the child, which is in the same process group.
        if number != signal.SIGINT or not in_foreground():
            self._child.send_signal(number)
        timer = threading.Timer(GRACE, self._child.kill)
        timer.daemon = True
        timer.start()


def in_foreground() -> bool:
    """Whether this process belongs to the group that its terminal's Ctrl-C goes to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def run(command: Sequence[str]) -> int:
    """
    Run a command beside a private node.

    @return: The command's exit status, 128 + n if it died of signal n, 1 if there was no node to run it with.
    """
    signals = Signals()
    begun = time.monotonic()
    try:
        broker = PrivateRabbitMQ()
        try:
            broker.start(lambda: bool(signals.caught))
            print(f"private RabbitMQ up in {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
            try:
                child = subprocess.Popen(command, env={**os.environ, **broker.environment})
            except OSError as error:
                raise RabbitMQError(f"{command[0]}: {error.strerror}") from None
            broker.watch(child.pid, signal.SIGTERM)
            signals.pass_on_to(child)
            status = child.wait()
            broker.watch(child.pid, 0)
        finally:
            broker.close()
    except RabbitMQError as error:
        if signals.caught:
            return 128 + signals.caught
        print(error, file=sys.stderr)
        return 1
    return status if status >= 0 else 128 - status


def ensure() -> int:
    """
    Make sure that RabbitMQ is on this machine.

    @return: Exit status: 0 when it is there, 1 when it is neither there nor installable from here.
    """
    if find_server() is not None:
        return 0
    done = subprocess.run(
        ["/bin/sh", str(INSTALL_SCRIPT), "rabbitmq-server"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode or find_server() is None:
        print("\n".join([*done.stdout.splitlines()[-15:], HOW_TO_INSTALL]), file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """
    The command line.

    @param arguments: Without the program's name.
    @return: Exit status.
    """
    match arguments:
        case ["ensure"]:
            return ensure()
        case ["run", "--", _, *_]:
            return run(arguments[2:])
        case ["guard", folder]:
            return guard(Path(folder))
    print("usage: rabbitmq.py ensure | rabbitmq.py run -- COMMAND [ARGUMENT ...]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
