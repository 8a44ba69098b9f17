"""
Tests for C{tools/rabbitmq.py} and L{txpika.test.broker}.

Most run the program with stand-ins for RabbitMQ, which start in no time; the last class starts the real thing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from txpika.test import broker

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "rabbitmq.py"

#: Stands for the Erlang machine: listens where rabbitmq.conf says, and answers everybody with one method frame's type.
SERVER = """
import os, re, socket
port = int(re.search(r"127\\.0\\.0\\.1:(\\d+)", open(os.environ["RABBITMQ_CONFIG_FILE"]).read())[1])
open(os.environ["RABBITMQ_PID_FILE"], "w").write(str(os.getpid()))
listening = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listening.accept()
    connection.sendall(b"\\x01")
    connection.close()
"""

#: A command that says when it is up, and which signal ended it. (Not by C{print}, which no signal may interrupt.)
WAITS = """
import os, signal, sys
def stop(number, frame):
    os.write(1, b"got %d\\n" % number)
    sys.exit(9)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, stop)
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


def heed_signals() -> None:
    """Undo what C{nohup} or a shell in the background does to all its children: the tool leaves ignored signals so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def load_tool() -> ModuleType:
    """C{tools/rabbitmq.py} as a module; it is no part of an installed txpika."""
    if not TOOL.exists():
        raise SkipTest("only in a checkout of the repository")
    spec = importlib.util.spec_from_file_location("txpika_tools_rabbitmq", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def running(pid: int) -> bool:
    """Whether a process exists and has not ended; a zombie has, though nobody may have asked for its status yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class StandInTests(SynchronousTestCase):
    """The command C{run}, with programs on PATH that only look like RabbitMQ's."""

    def setUp(self) -> None:
        load_tool()
        self.folder = Path(self.mktemp()).resolve()
        self.temp, programs = self.folder / "temp", self.folder / "bin"
        self.pids = self.folder / "pids"
        for folder in (self.temp, programs):
            folder.mkdir(parents=True)
        (self.folder / "server.py").write_text(SERVER)
        self.programs = programs
        # As the real script may, this one stays around as the parent of what it starts.
        self.program("rabbitmq-server", f"echo $$ >> {self.pids}\n{sys.executable} {self.folder}/server.py\n")
        self.program("epmd", f"echo $$ >> {self.pids}\nexec sleep 1000\n")
        self.program("rabbitmqctl", 'echo "$@"\n')
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self.temp),
        }

    def program(self, name: str, text: str) -> None:
        """Put a shell script on PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start the tool around a command."""
        process = subprocess.Popen(
            [sys.executable, str(TOOL), "run", "--", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assertNothingLeft(self) -> None:
        """All processes are gone, and so is the folder, at once or within the time that the guard takes."""
        pids = [int(pid) for pid in self.pids.read_text().split()]
        self.assertEqual(len(pids), 2)
        deadline = time.monotonic() + 20
        while any(map(running, pids)) or list(self.temp.iterdir()):
            if time.monotonic() > deadline:
                self.fail(f"still there: {[pid for pid in pids if running(pid)]} {list(self.temp.iterdir())}")
            time.sleep(0.02)

    def test_the_command_is_told_where_the_broker_is_and_its_status_is_returned(self) -> None:
        told = 'import os, sys; print(os.environ["TXPIKA_TEST_URI"], os.environ["TXPIKA_TEST_NODE"]); sys.exit(7)'
        process = self.start(sys.executable, "-c", told)
        uri, node = process.communicate()[0].split()
        self.assertRegex(uri, r"^amqp://txpika:[0-9a-f]{24}@127\.0\.0\.1:\d+/%2F$")
        self.assertRegex(node, rf"^txpika-{process.pid}-[0-9a-f]{{6}}@localhost$")
        self.assertEqual(process.returncode, 7)
        self.assertNothingLeft()

    def test_rabbitmqctl_of_the_node_lies_in_its_folder(self) -> None:
        process = self.start("sh", "-c", '"$TXPIKA_TEST_BASE/ctl" list_queues "a b"; echo $TXPIKA_TEST_NODE')
        called, node = process.communicate()[0].splitlines()
        self.assertEqual(called, f"--silent -n {node} list_queues a b")

    def test_a_command_killed_by_a_signal_gives_128_and_its_number(self) -> None:
        process = self.start("sh", "-c", "kill -KILL $$")
        process.communicate()
        self.assertEqual(process.returncode, 128 + signal.SIGKILL)
        self.assertNothingLeft()

    def test_a_command_that_does_not_exist(self) -> None:
        process = self.start("./no-such-program")
        self.assertIn("./no-such-program: No such file or directory\n", process.communicate()[1])
        self.assertEqual(process.returncode, 1)
        self.assertNothingLeft()

    def test_a_node_that_does_not_start_says_why(self) -> None:
        # Not before epmd has said who it is, which is ended as soon as this one has.
        told = f"until [ -s {self.pids} ]; do sleep 0.01; done\necho $$ >> {self.pids}\n"
        self.program("rabbitmq-server", f"{told}echo the disk is on fire\nexit 3\n")
        process = self.start("echo", "started")
        output, errors = process.communicate()
        self.assertEqual((output, process.returncode), ("", 1))
        self.assertEqual(errors, "RabbitMQ ended with status 3 while starting\n    the disk is on fire\n")
        self.assertNothingLeft()

    def check_signal(self, number: signal.Signals) -> None:
        process = self.start(sys.executable, "-c", WAITS)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "up\n")
        process.send_signal(number)
        self.assertEqual(process.communicate()[0], f"got {int(number)}\n")
        self.assertEqual(process.returncode, 9)
        self.assertNothingLeft()

    def test_sigterm_ends_the_command_then_the_node(self) -> None:
        self.check_signal(signal.SIGTERM)

    def test_sigint_ends_the_command_then_the_node(self) -> None:
        self.check_signal(signal.SIGINT)

    def test_sighup_ends_the_command_then_the_node(self) -> None:
        self.check_signal(signal.SIGHUP)

    def test_kill_9_of_the_tool_leaves_nothing_either(self) -> None:
        process = self.start(sys.executable, "-c", WAITS)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "up\n")
        process.kill()
        self.assertEqual(process.communicate()[0], f"got {int(signal.SIGTERM)}\n")
        self.assertNothingLeft()

    def test_a_signal_while_the_node_starts(self) -> None:
        self.program("rabbitmq-server", f"echo $$ >> {self.pids}\nkill -TERM $PPID\nexec sleep 1000\n")
        process = self.start("echo", "started")
        self.assertEqual(process.communicate(), ("", ""))
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        self.assertNothingLeft()

    def test_wrong_usage(self) -> None:
        for arguments in ([], ["run"], ["run", "--"], ["ensure", "x"]):
            done = subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stderr.partition(":")[0], "usage")


class FindingTests(SynchronousTestCase):
    """Which programs the tool calls, and what it says when they are missing."""

    def setUp(self) -> None:
        self.tool = load_tool()
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        self.patch(self.tool, "SYSTEM_FOLDERS", ())
        self.patch(self.tool, "DEBIAN_SCRIPTS", self.folder / "debian")
        self.install_by("exit 3")
        self.patch(os, "environ", {**os.environ, "PATH": str(self.folder)})

    def executable(self, path: Path) -> Path:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
        return path

    def install_by(self, text: str) -> None:
        """Let this stand for C{tools/install_packages.sh}."""
        script = self.folder / "install.sh"
        script.write_text(text)
        self.patch(self.tool, "INSTALL_SCRIPT", script)

    def ensure(self) -> tuple[int, str]:
        """Exit status of C{ensure}, and what it wrote to standard error."""
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            return self.tool.ensure(), errors.getvalue()

    def test_missing_in_one_line(self) -> None:
        self.assertEqual(self.ensure(), (1, self.tool.HOW_TO_INSTALL + "\n"))
        self.assertRaisesRegex(self.tool.RabbitMQError, "RabbitMQ is missing", self.tool.PrivateRabbitMQ)

    def test_installed(self) -> None:
        self.install_by(f": > {self.folder}/rabbitmq-server; /bin/chmod 755 {self.folder}/rabbitmq-server")
        self.assertEqual(self.ensure(), (0, ""))

    def test_installing_fails(self) -> None:
        self.install_by("echo E: no space left; exit 100")
        self.assertEqual(self.ensure(), (1, "E: no space left\n" + self.tool.HOW_TO_INSTALL + "\n"))

    def test_installing_has_no_effect(self) -> None:
        self.install_by("exit 0")
        self.assertEqual(self.ensure()[0], 1)

    def test_present(self) -> None:
        self.executable(self.folder / "rabbitmq-server")
        self.assertEqual(self.ensure(), (0, ""))

    def test_the_one_on_path_goes_before_debians(self) -> None:
        self.executable(self.folder / "debian" / "rabbitmq-server")
        own = self.executable(self.folder / "rabbitmq-server")
        self.assertEqual(self.tool.find_server(), own)

    def test_debians_without_its_wrapper_on_path(self) -> None:
        real = self.executable(self.folder / "debian" / "rabbitmq-server")
        self.assertEqual(self.tool.find_server(), real)

    def test_debians_wrapper_stands_for_the_script_it_wraps(self) -> None:
        real = self.executable(self.folder / "debian" / "rabbitmq-server")
        wrapper = self.executable(self.folder / "sbin" / "rabbitmq-server")
        self.patch(self.tool, "WRAPPER_FOLDERS", (str(wrapper.parent),))
        os.environ["PATH"] = str(wrapper.parent)
        self.assertEqual(self.tool.find_server(), real)

    def test_epmd_beside_erl(self) -> None:
        erl = self.executable(self.folder / "erlang" / "bin" / "erl")
        (self.folder / "erl").symlink_to(erl)
        beside = self.executable(self.folder / "erlang" / "erts-13.1" / "bin" / "epmd")
        self.assertEqual(self.tool.find_epmd(), str(beside))

    def test_no_erlang(self) -> None:
        self.assertRaisesRegex(self.tool.RabbitMQError, "epmd is missing", self.tool.find_epmd)

    def test_ports_are_free_and_different(self) -> None:
        ports = self.tool.choose_ports(3)
        self.assertEqual(len(set(ports)), 3)
        for port in ports:
            socket.create_server(("127.0.0.1", port)).close()

    def test_a_taken_port_is_not_chosen(self) -> None:
        self.patch(self.tool, "PORTS", range(ports := self.tool.choose_ports(1)[0], ports + 1))
        with socket.create_server(("127.0.0.1", ports)):
            self.assertRaisesRegex(self.tool.RabbitMQError, "no 1 free ports", self.tool.choose_ports, 1)


class RequireBrokerTests(SynchronousTestCase):
    """What a test does without a broker depends on where it runs."""

    def test_the_uri_of_the_broker(self) -> None:
        self.assertEqual(broker.require_broker({"TXPIKA_TEST_URI": "amqp://a/", "CI": "true"}), "amqp://a/")

    def test_on_a_desk_a_test_is_skipped(self) -> None:
        error = self.assertRaises(SkipTest, broker.require_broker, {"CI": ""})
        self.assertEqual(str(error), "no RabbitMQ to test against: run `make test`")

    def test_in_ci_a_test_fails(self) -> None:
        for name in ("CI", "TXPIKA_REQUIRE_BROKER"):
            self.assertRaises(broker.BrokerMissing, broker.require_broker, {name: "1"})


class CtlTests(SynchronousTestCase):
    """rabbitmqctl on the broker that the tests run against."""

    def setUp(self) -> None:
        broker.require_broker()

    def test_output_is_rows_only(self) -> None:
        self.assertIn(["/"], [line.split("\t") for line in broker.ctl("list_vhosts", "name").splitlines()])

    def test_failure(self) -> None:
        error = self.assertRaises(broker.CtlError, broker.ctl, "set_permissions", "nobody", ".*", ".*", ".*")
        self.assertRegex(str(error), r"(?s)^rabbitmqctl set_permissions: .*does not exist")


class RealNodeTests(SynchronousTestCase):
    """A RabbitMQ of our own, through all that a test may do to it."""

    def setUp(self) -> None:
        broker.require_broker()
        self.tool = load_tool()

    def listens(self, address: str, port: int) -> bool:
        try:
            socket.create_connection((address, port), 5).close()
        except OSError:
            return False
        return True

    def test_life_of_a_node(self) -> None:
        node = self.tool.PrivateRabbitMQ()
        self.addCleanup(node.close)
        node.start()
        # All of 127.0.0.0/8 is this machine, so what listens on every address would answer on 127.0.0.2.
        for port in (node.port, node._dist_port, node._epmd_port):
            self.assertEqual((self.listens("127.0.0.1", port), self.listens("127.0.0.2", port)), (True, False))
        node.ctl("add_user", "second", "secret")
        self.assertRaisesRegex(self.tool.RabbitMQError, "already exists", node.ctl, "add_user", "second", "secret")

        node.pause()
        with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            connection.settimeout(0.2)
            self.assertRaises(TimeoutError, connection.recv, 1)
            node.resume()
            connection.settimeout(20)
            self.assertEqual(connection.recv(1), b"\x01")

        port, pid = node.port, node.pid
        node.kill9()
        self.assertFalse(running(pid))
        self.assertFalse(self.listens("127.0.0.1", port))
        node.start()
        self.assertEqual(node.port, port)
        self.assertIn("second\t[]", node.ctl("list_users").splitlines())

        pid = node.pid
        node.stop()
        self.assertFalse(running(pid))
        self.assertIsNone(node.pid)
        node.close()
        self.assertFalse(node.folder.exists())
        self.assertFalse(self.listens("127.0.0.1", node._epmd_port))
