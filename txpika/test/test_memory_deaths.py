"""Dead letters, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from typing import Any

from txpika import x_death, x_first_death
from txpika.spec import Basic, Exchange, Queue, Timestamp
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario


class DeathScenarios(Scenario):
    """What is dropped from a queue comes to another, by a fanout exchange."""

    def setUp(self) -> None:
        super().setUp()
        if not type(self).__name__.startswith("Death"):
            return
        self.one = self.client()
        self.exchange = self.name("dead")
        self.one.call(1, Exchange.Declare(0, self.exchange, "fanout"), Exchange.DeclareOk)
        self.dead = self.declared(self.one, "graves")
        self.one.call(1, Queue.Bind(0, self.dead, self.exchange, ""), Queue.BindOk)
        self.graves = self.client()
        self.consume(self.graves, self.dead, no_ack=True)

    def mortal(self, name: str = "q", **arguments: Any) -> str:
        return self.declared(self.one, name, x_dead_letter_exchange=self.exchange, **arguments)

    def buried(self) -> Any:
        return self.graves.message(1)

    def entry(self, heard: Any, queue: str, reason: str, count: int = 1, keys: Any = None, **more: Any) -> None:
        """The one entry of C{x-death}."""
        (found,) = heard.properties.headers["x-death"]
        time = found.pop("time")
        self.assertIsInstance(time, Timestamp)
        keys = [queue] if keys is None else keys
        more = {name.replace("_", "-"): value for name, value in more.items()}
        wanted = {"count": count, "reason": reason, "queue": queue, "exchange": "", "routing-keys": keys, **more}
        self.assertEqual(found, wanted)

    def test_expired(self) -> None:
        queue = self.mortal(x_message_ttl=50)
        self.one.publish(1, "", queue, b"m", priority=2)
        heard = self.buried()
        self.assertEqual((heard.body, heard.method.exchange, heard.method.routing_key), (b"m", self.exchange, queue))
        self.assertEqual((heard.method.redelivered, heard.properties.priority), (False, 2))
        self.entry(heard, queue, "expired")
        headers = heard.properties.headers
        first = {"queue": queue, "reason": "expired", "exchange": ""}
        of_the_first = {name: value for name, value in headers.items() if name.startswith("x-first-death-")}
        self.assertEqual(of_the_first, {f"x-first-death-{name}": value for name, value in first.items()})
        self.assertEqual(len(headers), 7 if self.is_later else 4)  # those of the last death, too
        self.assertEqual(x_first_death(heard.properties).reason, "expired")  # type: ignore[union-attr]

    def test_an_expiration_of_its_own(self) -> None:
        """It is taken away and told: the message does not expire again."""
        queue = self.mortal()
        self.one.publish(1, "", queue, b"m", expiration="50", headers={"a": 1})
        heard = self.buried()
        self.assertEqual((heard.properties.expiration, heard.properties.headers["a"]), (None, 1))
        self.entry(heard, queue, "expired", original_expiration="50")

    def test_what_comes_back_expires_before_what_waits(self) -> None:
        queue = self.mortal()
        self.one.publish(1, "", queue, b"1", expiration="600")
        self.assertEqual(self.get(self.one, queue, no_ack=False).body, b"1")
        self.one.publish(1, "", queue, b"2", expiration="60000")
        self.assertEqual(self.count(self.one, queue), (1, 0))
        self.one.send(1, Basic.Reject(1, True))
        self.assertEqual(self.buried().body, b"1")
        self.assertEqual(self.bodies(self.one, queue), [b"2"])

    def test_too_many(self) -> None:
        queue = self.mortal(x_max_length=1)
        self.one.publish(1, "", queue, b"1")
        self.one.publish(1, "", queue, b"2")
        heard = self.buried()
        self.assertEqual(heard.body, b"1")
        self.entry(heard, queue, "maxlen")

    def test_refused_for_being_too_many(self) -> None:
        queue = self.mortal(x_max_length=0, x_overflow="reject-publish-dlx")
        self.confirming(self.one)
        self.one.publish(1, "", queue, b"1")
        self.one.expect(1, Basic.Nack)
        self.entry(self.buried(), queue, "maxlen")

    def test_rejected(self) -> None:
        queue = self.mortal()
        for number, refusal in enumerate((Basic.Reject(1, False), Basic.Nack(2, False, False), Basic.Nack(3, True))):
            self.one.publish(1, "", queue, b"%d" % number)
            self.assertEqual(self.get(self.one, queue, no_ack=False).body, b"%d" % number)
            if isinstance(refusal, Basic.Nack):
                refusal.requeue = False
            self.one.send(1, refusal)
            heard = self.buried()
            self.assertEqual(heard.body, b"%d" % number)
            self.entry(heard, queue, "rejected")

    def test_another_routing_key(self) -> None:
        """It takes the place of all that there were."""
        other = self.declared(self.one, "other")
        queue = self.mortal(x_max_length=0, x_dead_letter_routing_key="new")
        self.one.publish(1, "", queue, b"m", headers={"CC": [other], "BCC": ["secret"], "a": 1})
        heard = self.buried()
        self.assertEqual(heard.method.routing_key, "new")
        left = {key for key in heard.properties.headers if "-death-" not in key}
        self.assertEqual(left, {"a", "x-death", "CC"} if self.is_later else {"a", "x-death"})
        self.entry(heard, queue, "maxlen", keys=[queue, other])

    def test_without_another_routing_key(self) -> None:
        """All that there were lead on, the hidden ones too."""
        seen, hidden = self.declared(self.one, "seen"), self.declared(self.one, "hidden")
        direct = self.name("direct")
        self.one.call(1, Exchange.Declare(0, direct, "direct"), Exchange.DeclareOk)
        queue = self.declared(self.one, "first", x_max_length=0, x_dead_letter_exchange=direct)
        for key in (seen, hidden):
            self.one.call(1, Queue.Bind(0, self.dead, direct, key), Queue.BindOk)
        self.one.call(1, Queue.Bind(0, hidden, direct, "secret"), Queue.BindOk)
        self.one.publish(1, "", queue, b"m", headers={"CC": [seen], "BCC": ["secret"]})
        heard = self.buried()
        self.assertEqual(heard.properties.headers["CC"], [seen])
        self.entry(heard, queue, "maxlen", keys=[queue, seen])
        self.consume(self.one, hidden, no_ack=True)
        self.assertEqual(self.one.message(1).body, b"m")

    def test_again(self) -> None:
        """The count goes up; the rest of the entry is of the first time."""
        queue = self.declared(
            self.one, "first", x_dead_letter_exchange="", x_dead_letter_routing_key=self.name("first")
        )
        self.one.publish(1, "", queue, b"m", expiration="60000")
        self.consume(self.one, queue)
        for count in range(4):
            heard = self.one.message(1)
            if count:
                self.entry(heard, queue, "rejected", count, original_expiration="60000")
                self.assertEqual(heard.method.exchange, "")
            self.one.send(1, Basic.Reject(heard.method.delivery_tag, False))

    def test_one_after_the_other(self) -> None:
        """The latest entry is the first."""
        second = self.mortal("second", x_max_length=0)
        first = self.declared(
            self.one, "first", x_message_ttl=30, x_dead_letter_exchange="", x_dead_letter_routing_key=second
        )
        self.one.publish(1, "", first, b"m")
        heard = self.buried()
        deaths = x_death(heard.properties)
        self.assertEqual([(death.queue, death.reason) for death in deaths], [(second, "maxlen"), (first, "expired")])
        self.assertEqual(heard.properties.headers["x-first-death-queue"], first)

    def test_in_circles(self) -> None:
        """What nobody has rejected is dropped when it comes again."""
        name = self.name("first")
        queue = self.declared(
            self.one, "first", x_message_ttl=20, x_dead_letter_exchange=self.exchange, x_dead_letter_routing_key=name
        )
        self.one.call(1, Queue.Bind(0, queue, self.exchange, ""), Queue.BindOk)
        self.one.publish(1, "", queue, b"m")
        self.entry(self.buried(), queue, "expired", keys=[queue])
        self.one.publish(1, "", queue, b"n")
        self.assertEqual(self.buried().body, b"n")
        self.assertEqual(self.count(self.one, queue), (0, 0))

    def test_another_try(self) -> None:
        """What a consumer has rejected waits in another queue, and comes back: no circle, as somebody has seen it."""
        work, retry = self.name("work"), self.name("retry")
        self.declared(self.one, "work", x_dead_letter_exchange="", x_dead_letter_routing_key=retry)
        more = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": work}
        self.declared(self.one, "retry", x_message_ttl=20, **more)
        self.one.publish(1, "", work, b"m")
        self.consume(self.one, work)
        for count in range(4):
            heard = self.one.message(1)
            deaths = x_death(heard.properties)
            told = [(death.queue, death.reason, death.count) for death in deaths]
            self.assertEqual(told, [(retry, "expired", count), (work, "rejected", count)] if count else [])
            self.one.send(1, Basic.Reject(heard.method.delivery_tag, False))

    def test_made_up_headers(self) -> None:
        """Counted on from what is there; thrown away where it is nothing."""
        queue = self.mortal(x_max_length=0)
        made_up: list[dict[str, Any]] = [
            {"queue": queue, "reason": "maxlen", "count": 41, "a": "b"},
            {"queue": "x", "reason": "maxlen"},
        ]
        self.one.publish(1, "", queue, b"m", headers={"x-death": made_up})
        headers = self.buried().properties.headers
        if self.is_later:  # it believes nobody but itself
            self.assertEqual([death["count"] for death in headers["x-death"]], [1])
            return
        self.assertEqual(headers, {"x-death": [{**made_up[0], "count": 42}, {"count": 1, **made_up[1]}]})
        self.one.publish(1, "", queue, b"m", headers={"x-death": "nothing"})
        heard = self.buried()
        self.entry(heard, queue, "maxlen")
        self.assertEqual(list(heard.properties.headers), ["x-death"])

    def test_no_such_exchange(self) -> None:
        queue = self.declared(self.one, x_max_length=0, x_dead_letter_exchange=self.name("none"))
        self.one.publish(1, "", queue, b"m")
        self.assertEqual(self.count(self.one, queue), (0, 0))
        self.quiet(self.one)


class DeathsInMemoryTests(DeathScenarios, InMemory):
    def test_a_long_row_of_queues(self) -> None:
        """Each of which drops what it gets."""
        for number in range(2000):
            self.declared(
                self.one,
                f"row{number}",
                x_max_length=0,
                x_dead_letter_exchange="",
                x_dead_letter_routing_key=self.name(f"row{number + 1}"),
            )
        last = self.declared(self.one, "row2000")
        self.one.publish(1, "", self.name("row1990"), b"m")
        self.assertEqual(len(self.get(self.one, last).properties.headers["x-death"]), 10)


class DeathsOnRabbitMQTests(DeathScenarios, OnRabbitMQ):
    pass


del Scenario, DeathScenarios
