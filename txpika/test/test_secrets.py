"""
Tests that a secret is shown nowhere: not by what holds it, and not by what goes wrong, wherever that is looked at.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import txpika
from txpika import (
    AMQPFactory,
    AMQPlainCredentials,
    AMQPProtocol,
    BrokerEndpoint,
    ConnectionParameters,
    ExternalCredentials,
    PlainCredentials,
    TLSOptions,
    parse_uri,
)
from txpika.credentials import Secret
from txpika.exceptions import AMQPError
from txpika.interfaces import ICredentials
from txpika.provider import ask_now
from txpika.spec import Connection, Method
from txpika.test.fakes import CallbackPeer, TwistedPeer, method
from txpika.test.reactor import Reactor

CANARY = "hunter2-canary"
URI = f"amqps://me:{CANARY}@localhost"
OURS = str(Path(txpika.__file__).parent)
TESTS = str(Path(__file__).parent)


def inner(value: object) -> Iterator[object]:
    """What a value of ours is made of, as far as debuggers look; methods hold what is in them."""
    if not type(value).__module__.startswith("txpika.") or isinstance(value, Talkative | Method):
        return
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(value, name):
                yield getattr(value, name)


def seen(value: object) -> str:
    """What a debugger shows of a value, which may be half made."""
    try:
        return repr(value)
    except Exception:
        return ""


def shown_by(error: BaseException) -> Iterator[str]:
    """Whatever people may print of an exception: texts, tracebacks, and the names in our frames of those."""
    yield from (str(error), repr(error), *map(repr, error.args), repr(vars(error)))
    yield from traceback.format_exception(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith(OURS) and not name.startswith(TESTS):
            for local in frame.f_locals.values():
                yield seen(local)
                yield from map(seen, inner(local))
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield from shown_by(other)


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.logged: list[Any] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def assertHidden(self, *texts: str) -> None:
        for text in texts:
            self.assertNotIn(CANARY, text)
            self.assertNotIn("canary", text)

    def nothing_logged(self) -> None:
        for event in self.logged:
            self.assertHidden(eventAsText(event), repr(event))

    def fails_hidden(self, call: Callable[..., Any], *arguments: Any, **more: Any) -> BaseException:
        """It fails, and tells the secret to nobody."""
        try:
            result = call(*arguments, **more)
        except (ValueError, TypeError, AMQPError) as error:
            raised: BaseException = error
        else:
            raised = self.failureResultOf(result).value
        self.assertHidden(*shown_by(raised))
        failure = Failure(raised, type(raised), raised.__traceback__)
        self.assertHidden(failure.getTraceback(), failure.getErrorMessage(), repr(failure), str(failure))
        self.nothing_logged()
        return raised


class HolderTests(Base):
    """What holds a secret."""

    def holders(self) -> list[Any]:
        plain = PlainCredentials("me", CANARY)
        tls = TLSOptions(certfile="c", keyfile="k", keyfile_password=CANARY)
        parameters = parse_uri(URI)
        return [
            Secret("password", CANARY),
            plain,
            AMQPlainCredentials("me", CANARY),
            tls,
            parameters,
            ConnectionParameters(credentials=plain, tls=tls),
            AMQPFactory(parameters),
            AMQPProtocol(parameters, Reactor()),
            BrokerEndpoint(parameters, Reactor()),
            Connection.StartOk({}, "PLAIN", plain.response("PLAIN")),
            Connection.SecureOk(CANARY.encode()),
            Connection.UpdateSecret(CANARY.encode()),
        ]

    def test_B99_shown(self) -> None:
        for holder in self.holders():
            self.assertHidden(repr(holder), str(holder), f"{holder}", f"{holder!r:>10}", f"{holder}" % ())
            self.assertHidden(repr(getattr(holder, "__dict__", None)))
            self.assertHidden(*(repr(vars(part)) for part in inner(holder) if hasattr(part, "__dict__")))
        self.assertHidden(repr(ConnectionParameters(credentials=Shouting())))

    def test_B99_copied_and_pickled(self) -> None:
        for holder in self.holders()[:6]:
            for copied in (copy.copy(holder), copy.deepcopy(holder)):
                self.assertHidden(repr(copied), repr(list(inner(copied))))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                try:
                    self.assertHidden(repr(pickle.dumps(holder, protocol)))
                except TypeError as error:
                    self.assertHidden(str(error))
                else:
                    self.fail(f"{holder!r} was pickled")

    def test_B99_a_dataclass_around_it(self) -> None:
        @dataclasses.dataclass
        class Settings:
            parameters: Any

        for holder in self.holders()[:6]:
            settings = Settings(holder)
            self.assertHidden(repr(settings), repr(dataclasses.asdict(settings)), repr(dataclasses.astuple(settings)))

    def test_a_copy_works(self) -> None:
        for make in (copy.copy, copy.deepcopy):
            copied = make(PlainCredentials("me", CANARY))
            self.assertEqual(copied.response("PLAIN"), b"\0me\0" + CANARY.encode())
            self.assertEqual(make(parse_uri(URI)).credentials, PlainCredentials("me", CANARY))

    def test_equal_without_being_shown(self) -> None:
        self.assertEqual(Secret("a", "x"), Secret("b", "x"))
        self.assertNotEqual(Secret("a", "x"), Secret("a", "y"))
        self.assertNotEqual(Secret("a", "x"), "x")
        self.assertEqual(hash(Secret("a", "x")), hash(Secret("a", "y")))
        self.assertEqual(PlainCredentials("a", "b"), PlainCredentials("a", "b"))
        self.assertNotEqual(PlainCredentials("a", "b"), AMQPlainCredentials("a", "b"))
        self.assertNotEqual(PlainCredentials("a", "b"), PlainCredentials("a", "c"))
        self.assertEqual({ExternalCredentials()}, {ExternalCredentials()})


@implementer(ICredentials)
class Talkative:
    """Credentials of a program, which show their secret and fail in one way or other."""

    mechanisms = ("PLAIN",)

    def __init__(self, answer: object = b"") -> None:
        self._answer = answer

    def response(self, mechanism: str) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def challenge(self, mechanism: str, challenge: bytes) -> Any:
        return self.response(mechanism)


class Shouting(Talkative):
    """They call themselves by their secret."""

    def __repr__(self) -> str:
        return CANARY


class ArgumentTests(Base):
    """Calls that raise."""

    def test_B102_B103_B104_uris(self) -> None:
        for bad in (
            f"amqp://me:{CANARY}%zz@h",
            f"amqp://me:{CANARY}%00@h",
            f"amqp://me:{CANARY}%ff@h",
            f"amqp://me:{CANARY}%ED%B2%80@h",
            f"amqp://me:{CANARY}@h:abc",
            f"amqp://me:{CANARY}@h:99999",
            f"amqp://me:{CANARY}@[::1",
            f"amqp://me:{CANARY}:q@h",
            f"amqp://me:{CANARY}@x@h",
            f"amqp://me:{CANARY}#w@h",
            f"amqp://me:{CANARY} @h",
            f"amqp://me:{CANARY}/x@h",
            f"amqp://me:{CANARY}?x@h",
            f"amqp://me:{CANARY}@h/a/b",
            f"amqp://me:{CANARY}@h1,h2",
            f"amqp://me:{CANARY}",
            f"amqp://me:{CANARY}@h?heartbeat=-1",
            f"amqp://me:{CANARY}@h?heartbeat=65536",
            f"amqp://me:{CANARY}@h?frame_max=100",
            f"amqp://me:{CANARY}@h?connection_timeout=0",
            f"amqp://me:{CANARY}@h?verify=verify_none",
            f"amqps://me:{CANARY}@h?verify=verify_none",
            f"amqps://me:{CANARY}@h?unknown={CANARY}",
            f"amqps://me:{CANARY}@h?auth_mechanism=external",
            f"amqps://me:{CANARY}@h?auth_mechanism={CANARY}",
            f"http://me:{CANARY}@h",
            f"me:{CANARY}@h",
            f"{CANARY}://me:x@h",
        ):
            for call in (parse_uri, txpika.URLParameters, txpika.connect, AMQPFactory, AMQPProtocol, BrokerEndpoint):
                error = self.fails_hidden(call, bad)
                self.assertIsInstance(error, ValueError)
                self.assertEqual((error.__cause__, error.__context__), (None, None))

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_no_text_shows_a_password(self, before: str, after: str) -> None:
        try:
            parse_uri(f"amqp://me:{before}{CANARY}{after}@host:badport")
        except ValueError as error:
            self.assertHidden(*shown_by(error))
        else:
            self.fail("a port that is none was taken")

    def test_B98_credentials(self) -> None:
        for kind in (PlainCredentials, AMQPlainCredentials):
            for bad in (f"{CANARY}\0", f"{CANARY}\udc80", CANARY.encode()):
                self.fails_hidden(kind, "me", bad)
                self.fails_hidden(kind, bad, CANARY)
                self.fails_hidden(kind, "\0", CANARY)

    def test_tls_options(self) -> None:
        number: Any = 1
        for make in (TLSOptions, TLSOptions.without_verification):
            for bad in (f"{CANARY}\0", CANARY.encode()):
                self.fails_hidden(make, certfile="c", keyfile_password=bad)
            self.fails_hidden(make, keyfile_password=CANARY)
            self.fails_hidden(make, certfile=number, keyfile_password=CANARY)
            self.fails_hidden(make, certfile="c", server_name="", keyfile_password=CANARY)
        self.flushWarnings()

    def test_parameters(self) -> None:
        self.fails_hidden(ConnectionParameters, credentials=PlainCredentials("me", CANARY), heartbeat=-1)
        self.fails_hidden(ConnectionParameters, credentials=CANARY)
        self.fails_hidden(ConnectionParameters, credentials=[CANARY])
        self.fails_hidden(setattr, ConnectionParameters(), "credentials", CANARY)
        error = self.assertRaises(AttributeError, setattr, ConnectionParameters(), "password", CANARY)
        self.assertHidden(*shown_by(error))


class HandshakeTests(Base):
    """Attempts to connect that come to nothing."""

    def peer(self, credentials: Any) -> TwistedPeer:
        return TwistedPeer(ConnectionParameters(credentials=credentials))

    def failed(self, peer: TwistedPeer) -> BaseException:
        opened = peer.protocol.when_open()
        peer.lose()
        return self.fails_hidden(lambda: opened)

    def test_cut_and_refused_in_each_state(self) -> None:
        for credentials in (PlainCredentials("me", CANARY), AMQPlainCredentials("me", CANARY)):
            for steps in range(3):
                for refusal in (b"", method(0, Connection.Close(403, "no", 0, 0)), b"HTTP/1.1 400", b"\xff" * 100):
                    peer = self.peer(credentials)
                    for step in (peer.start, peer.tune)[:steps]:
                        step()
                    peer.send(refusal)
                    self.failed(peer)

    def test_no_mechanism_and_a_challenge(self) -> None:
        for said in (
            method(0, Connection.Start(0, 9, {}, b"GSSAPI", b"en_US")),
            method(0, Connection.Start(0, 9, {}, b"PLAIN", b"en_US")) + method(0, Connection.Secure(b"?")),
        ):
            peer = self.peer(PlainCredentials("me", CANARY))
            peer.send(said)
            self.failed(peer)

    def ended(self, credentials: Any) -> BaseException:
        """Why a connection with such credentials ended; with its traceback, which waiters get a copy without."""
        peer = self.peer(credentials)
        peer.start()
        peer.lose()
        error = peer.connection.reason
        assert error is not None
        self.assertIsNotNone(error.__traceback__)
        self.nothing_logged()
        return error

    def test_credentials_of_a_program_that_answer_something_else(self) -> None:
        for answer in (CANARY, [CANARY], None):
            error = self.ended(Talkative(answer))
            self.assertIn("not with bytes", str(error))
            self.assertHidden(*shown_by(error))

    def test_a_function_that_gives_something_else(self) -> None:
        for answer in (CANARY, ("me", CANARY)):
            error = self.ended(lambda answer=answer: answer)
            self.assertIn(f"gave {type(answer).__name__}", str(error))
            self.assertHidden(*shown_by(error))

    def test_a_function_that_gives_something_else_to_other_adapters(self) -> None:
        for answer in (CANARY, ("me", CANARY)):
            self.assertIn("gave", str(self.fails_hidden(ask_now, lambda answer=answer: answer)))
            peer = CallbackPeer(ConnectionParameters(credentials=lambda answer=answer: answer))
            error = peer.connection.reason
            assert error is not None
            self.assertIn(f"gave {type(answer).__name__}", str(error))
            self.assertHidden(*shown_by(error))

    def test_what_a_program_raises_is_the_cause_and_is_not_quoted(self) -> None:
        for raised in (ValueError(CANARY), RuntimeError(CANARY)):

            def credentials(raised: Exception = raised) -> Any:
                raise raised

            for each in (Talkative(raised), credentials):
                error = self.ended(each)
                self.assertHidden(str(error), repr(error))
                self.assertIs(error.__cause__, raised)

    def test_a_deadline(self) -> None:
        peer = self.peer(PlainCredentials("me", CANARY))
        opened = peer.protocol.when_open()
        peer.start()
        peer.clock.advance(100)
        peer.lose()
        self.fails_hidden(lambda: opened)

    def test_hosts_that_are_away(self) -> None:
        reactor = Reactor()
        parameters = ConnectionParameters(hosts=["10.0.0.1", "10.0.0.2"], credentials=PlainCredentials("me", CANARY))
        connecting = txpika.connect(parameters, reactor)
        reactor.refuse()
        reactor.accept().lose()
        self.fails_hidden(lambda: connecting)

    def test_nothing_is_kept_of_it(self) -> None:
        """An open connection holds the secret where the program put it, and nowhere else."""
        credentials = PlainCredentials("me", CANARY)
        for each in (credentials, lambda: credentials):
            peer = self.peer(each)
            peer.open()
            core = peer.connection
            held = [value for value in vars(core).values() if value is not core.parameters]
            self.assertFalse([value for value in held if value is credentials])
            self.assertHidden(*map(repr, held), *(repr(part) for value in held for part in inner(value)))


class UpdateSecretTests(Base):
    """A new secret for an open connection."""

    def test_each_way_to_fail(self) -> None:
        closed = TwistedPeer().open()
        closed.lose()
        number: Any = 1
        for protocol in (TwistedPeer().protocol, closed.protocol):
            self.fails_hidden(protocol.update_secret, CANARY)
            self.fails_hidden(protocol.update_secret, CANARY.encode(), "reason")
        peer = TwistedPeer().open()
        self.fails_hidden(peer.protocol.update_secret, CANARY, "x" * 256)
        self.fails_hidden(peer.protocol.update_secret, CANARY, number)
        self.fails_hidden(peer.protocol.update_secret, CANARY, timeout=-1)
        self.fails_hidden(peer.protocol.update_secret, CANARY * 100_000)
        with ThreadPoolExecutor(1) as pool:
            self.fails_hidden(lambda: pool.submit(peer.protocol.update_secret, CANARY).result())
        timely = peer.protocol.update_secret(CANARY, timeout=1)
        lost = peer.protocol.update_secret(CANARY)
        peer.clock.advance(1)
        self.fails_hidden(lambda: timely)
        peer.lose()
        self.fails_hidden(lambda: lost)
