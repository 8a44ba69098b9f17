"""What brokers refuse, in the same words: RabbitMQ, and the one in memory."""

from __future__ import annotations

from typing import Any

from txpika.spec import Basic, Channel, Confirm, Connection, Exchange, Method, Queue, Tx
from txpika.test.fakes import content
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario

#: Stand for names in what follows.
Q, X, OTHER = "<q>", "<x>", "<other>"
IN = "in vhost '/'"
LOCKED = (
    f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{Q}' {IN}. It could be originally declared on "
    "another connection or the exclusive property value does not match that of the original declaration."
)
NO_QUEUE = f"NOT_FOUND - no queue '{OTHER}' {IN}"
NO_EXCHANGE = f"NOT_FOUND - no exchange '{OTHER}' {IN}"
DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"
NO_LAST = "NOT_FOUND - no previously declared queue"

#: What is declared before: the queue and the direct exchange that the rest is about.
QUEUE, EXCHANGE = Queue.Declare(0, Q), Exchange.Declare(0, X, "direct")
CONSUME = Basic.Consume(0, Q, "t")


def queue_with(**arguments: Any) -> Queue.Declare:
    return Queue.Declare(0, Q, arguments={f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})


def inequivalent(name: str, kind: str, received: str, current: str) -> str:
    what = f"{kind} '{Q if kind == 'queue' else X}' {IN}"
    return f"PRECONDITION_FAILED - inequivalent arg '{name}' for {what}: received {received} but current is {current}"


def invalid(name: str, why: str) -> str:
    return f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{Q}' {IN}: {why}"


#: What was said before, what is refused, the code, the text; the names are put in.
CHANNEL_ERRORS: list[tuple[list[Method], Method, int, str]] = [
    ([], Queue.Declare(0, OTHER, passive=True), 404, NO_QUEUE),
    ([], Exchange.Declare(0, OTHER, passive=True), 404, NO_EXCHANGE),
    ([], Queue.Declare(0, "amq.x"), 403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix 'amq.*'"),
    (
        [],
        Exchange.Declare(0, "amq.x", "direct"),
        403,
        "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'",
    ),
    ([], Exchange.Declare(0, "", "direct"), 403, DEFAULT),
    ([], Exchange.Declare(0, "", passive=True), 403, DEFAULT),
    ([], Exchange.Delete(0, ""), 403, DEFAULT),
    ([QUEUE], Queue.Bind(0, Q, "", "k"), 403, DEFAULT),
    ([QUEUE], Queue.Unbind(0, Q, "", "k"), 403, DEFAULT),
    ([], Exchange.Bind(0, "", "amq.direct", "k"), 403, DEFAULT),
    ([], Exchange.Bind(0, "amq.direct", "", "k"), 403, DEFAULT),
    (
        [],
        Exchange.Delete(0, "amq.direct"),
        403,
        f"ACCESS_REFUSED - deletion of system exchange 'amq.direct' {IN} not allowed",
    ),
    (
        [],
        Exchange.Declare(0, "amq.direct", "direct"),
        406,
        inequivalent("durable", "exchange", "'false'", "'true'").replace(X, "amq.direct"),
    ),
    ([EXCHANGE], Exchange.Declare(0, X, "fanout"), 406, inequivalent("type", "exchange", "'fanout'", "'direct'")),
    (
        [EXCHANGE],
        Exchange.Declare(0, X, "direct", durable=True),
        406,
        inequivalent("durable", "exchange", "'true'", "'false'"),
    ),
    (
        [EXCHANGE],
        Exchange.Declare(0, X, "direct", auto_delete=True),
        406,
        inequivalent("auto_delete", "exchange", "'true'", "'false'"),
    ),
    (
        [EXCHANGE],
        Exchange.Declare(0, X, "direct", internal=True),
        406,
        inequivalent("internal", "exchange", "'true'", "'false'"),
    ),
    (
        [EXCHANGE],
        Exchange.Declare(0, X, "direct", arguments={"alternate-exchange": "y"}),
        406,
        inequivalent("alternate-exchange", "exchange", "the value 'y' of type 'longstr'", "none"),
    ),
    (
        [Exchange.Declare(0, X, "direct", arguments={"alternate-exchange": "y"})],
        Exchange.Declare(0, X, "direct", arguments={"alternate-exchange": "z"}),
        406,
        inequivalent("alternate-exchange", "exchange", "'z'", "'y'"),
    ),
    (
        [],
        Exchange.Declare(0, X, "direct", arguments={"alternate-exchange": 1}),
        406,
        f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange '{X}' {IN}",
    ),
    (
        [QUEUE, EXCHANGE, Queue.Bind(0, Q, X, "k")],
        Exchange.Delete(0, X, if_unused=True),
        406,
        f"PRECONDITION_FAILED - exchange '{X}' {IN} in use",
    ),
    ([QUEUE], Queue.Declare(0, Q, durable=True), 406, inequivalent("durable", "queue", "'true'", "'false'")),
    ([QUEUE], Queue.Declare(0, Q, auto_delete=True), 406, inequivalent("auto_delete", "queue", "'true'", "'false'")),
    ([QUEUE], Queue.Declare(0, Q, exclusive=True), 405, LOCKED),
    (
        [QUEUE],
        queue_with(max_length=5),
        406,
        inequivalent("x-max-length", "queue", "the value '5' of type 'signedint'", "none"),
    ),
    (
        [queue_with(max_length=6)],
        QUEUE,
        406,
        inequivalent("x-max-length", "queue", "none", "the value '6' of type 'signedint'"),
    ),
    ([queue_with(max_length=6)], queue_with(max_length=5), 406, inequivalent("x-max-length", "queue", "'5'", "'6'")),
    (
        [queue_with(overflow="drop-head")],
        queue_with(overflow="reject-publish"),
        406,
        inequivalent("x-overflow", "queue", "'reject-publish'", "'drop-head'"),
    ),
    ([], queue_with(message_ttl=-1), 406, invalid("x-message-ttl", "{value_negative,-1}")),
    ([], queue_with(message_ttl="5"), 406, invalid("x-message-ttl", '"expected integer, got longstr"')),
    ([], queue_with(message_ttl=True), 406, invalid("x-message-ttl", '"expected integer, got bool"')),
    ([], queue_with(message_ttl=1.5), 406, invalid("x-message-ttl", '"expected integer, got double"')),
    ([], queue_with(message_ttl=2**40), 406, invalid("x-message-ttl", f"{{value_too_large,{2**40}}}")),
    ([], queue_with(expires=0), 406, invalid("x-expires", "{value_zero,0}")),
    ([], queue_with(expires=-1), 406, invalid("x-expires", "{value_negative,-1}")),
    ([], queue_with(max_length=-1), 406, invalid("x-max-length", "{value_negative,-1}")),
    ([], queue_with(max_length_bytes="a"), 406, invalid("x-max-length-bytes", '"expected integer, got longstr"')),
    ([], queue_with(max_priority=-1), 406, invalid("x-max-priority", "{value_negative,-1}")),
    ([], queue_with(max_priority=256), 406, invalid("x-max-priority", "{max_value_exceeded,256}")),
    (
        [],
        queue_with(dead_letter_exchange=1),
        406,
        f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue '{Q}' {IN}",
    ),
    (
        [],
        queue_with(dead_letter_routing_key="k"),
        406,
        invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"),
    ),
    (
        [],
        queue_with(dead_letter_routing_key=1),
        406,
        invalid("x-dead-letter-routing-key", "{unacceptable_type,signedint}"),
    ),
    ([], queue_with(overflow="other"), 406, invalid("x-overflow", "invalid_overflow")),
    ([], queue_with(overflow=1), 406, invalid("x-overflow", "{unacceptable_type,signedint}")),
    (
        [],
        queue_with(single_active_consumer=1),
        406,
        invalid("x-single-active-consumer", "{unacceptable_type,signedint}"),
    ),
    ([], queue_with(queue_mode="other"), 406, invalid("x-queue-mode", "\"unsupported queue mode 'other'\"")),
    ([], queue_with(queue_type="other"), 406, invalid("x-queue-type", "\"unsupported queue type 'other'\"")),
    ([], queue_with(queue_type=1), 406, invalid("x-queue-type", "{unacceptable_type,signedint}")),
    ([], queue_with(queue_version=3), 406, invalid("x-queue-version", "\"unsupported queue version '3'\"")),
    (
        [],
        queue_with(delivery_limit=3),
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue '{Q}' {IN} of queue type rabbit_classic_queue",
    ),
    (
        [queue_with(single_active_consumer=True)],
        QUEUE,
        406,
        inequivalent("x-single-active-consumer", "queue", "none", "the value 'true' of type 'bool'"),
    ),
    (
        [queue_with(single_active_consumer=True)],
        queue_with(single_active_consumer=False),
        406,
        inequivalent("x-single-active-consumer", "queue", "'false'", "'true'"),
    ),
    (
        [queue_with(queue_version=1)],
        queue_with(queue_version=2),
        406,
        inequivalent("x-queue-version", "queue", "'2'", "'1'"),
    ),
    (
        [],
        Exchange.Delete(0, "amq.none"),
        403,
        f"ACCESS_REFUSED - deletion of system exchange 'amq.none' {IN} not allowed",
    ),
    ([QUEUE], Queue.Declare(0, "", passive=True), 404, f"NOT_FOUND - no queue '' {IN}"),
    ([], Queue.Purge(0, OTHER), 404, NO_QUEUE),
    ([], Queue.Delete(0, ""), 404, NO_LAST),
    ([], Queue.Bind(0, "", "amq.direct", "k"), 404, NO_LAST),
    ([], Queue.Purge(0, ""), 404, NO_LAST),
    ([], Basic.Consume(0, "", "t"), 404, NO_LAST),
    ([], Queue.Bind(0, OTHER, "amq.direct", "k"), 404, NO_QUEUE),
    ([], Queue.Bind(0, OTHER, OTHER, "k"), 404, NO_EXCHANGE),
    ([], Exchange.Bind(0, "amq.direct", OTHER, "k"), 404, NO_EXCHANGE),
    ([], Exchange.Bind(0, OTHER, "amq.direct", "k"), 404, NO_EXCHANGE),
    (
        [QUEUE],
        Queue.Bind(0, Q, "amq.headers", "", arguments={"x-match": "some"}),
        406,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x',
    ),
    (
        [QUEUE],
        Queue.Bind(0, Q, "amq.headers", "", arguments={"x-match": 1}),
        406,
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr",
    ),
    ([QUEUE, CONSUME], Queue.Delete(0, Q, if_unused=True), 406, f"PRECONDITION_FAILED - queue '{Q}' {IN} in use"),
    ([], Basic.Consume(0, OTHER, "t"), 404, NO_QUEUE),
    ([], Basic.Get(0, OTHER), 404, NO_QUEUE),
    (
        [QUEUE, CONSUME],
        Basic.Consume(0, Q, "u", exclusive=True),
        403,
        f"ACCESS_REFUSED - queue '{Q}' {IN} in exclusive use",
    ),
    (
        [QUEUE, Basic.Consume(0, Q, "t", exclusive=True)],
        Basic.Consume(0, Q, "u"),
        403,
        f"ACCESS_REFUSED - queue '{Q}' {IN} in exclusive use",
    ),
    (
        [queue_with(single_active_consumer=True)],
        Basic.Consume(0, Q, "t", exclusive=True),
        403,
        f"ACCESS_REFUSED - queue '{Q}' {IN} in exclusive use",
    ),
    (
        [QUEUE],
        Basic.Consume(0, Q, "t", arguments={"x-priority": "a"}),
        406,
        invalid("x-priority", '"expected integer, got longstr"'),
    ),
    ([], Basic.Ack(5), 406, "PRECONDITION_FAILED - unknown delivery tag 5"),
    ([], Basic.Ack(0), 406, "PRECONDITION_FAILED - unknown delivery tag 0"),
    ([], Basic.Ack(2, True), 406, "PRECONDITION_FAILED - unknown delivery tag 2"),
    ([], Basic.Nack(7, False, True), 406, "PRECONDITION_FAILED - unknown delivery tag 7"),
    ([], Basic.Nack(7, True, True), 406, "PRECONDITION_FAILED - unknown delivery tag 7"),
    ([], Basic.Reject(9, True), 406, "PRECONDITION_FAILED - unknown delivery tag 9"),
    ([], Tx.Commit(), 406, "PRECONDITION_FAILED - channel is not transactional"),
    ([], Tx.Rollback(), 406, "PRECONDITION_FAILED - channel is not transactional"),
    ([Tx.Select()], Confirm.Select(), 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"),
    ([Confirm.Select()], Tx.Select(), 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"),
    (
        [],
        Basic.Consume(0, "amq.rabbitmq.reply-to", "t"),
        406,
        "PRECONDITION_FAILED - reply consumer cannot acknowledge",
    ),
    (
        [Basic.Consume(0, "amq.rabbitmq.reply-to", "t", no_ack=True)],
        Basic.Consume(0, "amq.rabbitmq.reply-to", "u", no_ack=True),
        406,
        "PRECONDITION_FAILED - reply consumer already set",
    ),
    ([], Basic.Get(0, "amq.rabbitmq.reply-to"), 404, f"NOT_FOUND - no queue 'amq.rabbitmq.reply-to' {IN}"),
]

#: The same, of what ends a connection; the channel it is said on comes first.
CONNECTION_ERRORS: list[tuple[int, list[Method], Method, int, str]] = [
    (1, [], Exchange.Declare(0, X, "nonsense"), 503, "COMMAND_INVALID - unknown exchange type 'nonsense'"),
    (1, [QUEUE, CONSUME], CONSUME, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"),
    (1, [], Basic.Qos(5, 0, False), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (5)"),
    (1, [], Basic.Recover(False), 540, "NOT_IMPLEMENTED - requeue=false"),
    (1, [], Basic.RecoverAsync(False), 540, "NOT_IMPLEMENTED - requeue=false"),
    (1, [], Channel.Flow(False), 540, "NOT_IMPLEMENTED - active=false"),
    (1, [], Channel.Open(), 504, "CHANNEL_ERROR - second 'channel.open' seen"),
    (5, [], Basic.Qos(0, 0, False), 504, "CHANNEL_ERROR - expected 'channel.open'"),
    (5, [], Channel.CloseOk(), 504, "CHANNEL_ERROR - expected 'channel.open'"),
    (5, [], Channel.Close(200, "", 0, 0), 504, "CHANNEL_ERROR - expected 'channel.open'"),
    (1, [], Queue.DeclareOk("a", 0, 0), 503, "COMMAND_INVALID - unimplemented method"),
    (1, [], Channel.FlowOk(True), 503, "COMMAND_INVALID - unimplemented method"),
    (1, [], Connection.Open("/"), 503, "COMMAND_INVALID - unimplemented method"),
    (0, [], Basic.Qos(0, 0, False), 504, "CHANNEL_ERROR - unexpected method in connection state running"),
    (0, [], Connection.Open("/"), 504, "CHANNEL_ERROR - unexpected method in connection state running"),
    (0, [], Connection.StartOk({}), 504, "CHANNEL_ERROR - unexpected method in connection state running"),
]

#: Publishing: what was said before, exchange, properties as they travel, the code, the text.
PUBLISH_ERRORS: list[tuple[list[Method], str, bytes, int, str]] = [
    ([], OTHER, b"\0\0", 404, NO_EXCHANGE),
    (
        [Exchange.Declare(0, X, "direct", internal=True)],
        X,
        b"\0\0",
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{X}' {IN}",
    ),
    (
        [],
        "",
        b"\x00\x10\x03bob",
        406,
        "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was '<user>'",
    ),
    ([], "", b"\x01\x00\x03abc", 406, "PRECONDITION_FAILED - invalid expiration 'abc': no_integer"),
    (
        [],
        "",
        b"\x01\x00\x031.5",
        406,
        "PRECONDITION_FAILED - invalid expiration '1.5': {leftover_string,\".5\"}",
    ),
    ([], "", b"\x01\x00\x00", 406, "PRECONDITION_FAILED - invalid expiration '': no_integer"),
    ([], "", b"\x01\x00\x02-1", 406, "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}"),
    ([], "", b"\x10\x00\x09", 406, "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,9}"),
    (
        [],
        "",
        b"\x20\x00\x00\x00\x00\x09\x02CCS\x00\x00\x00\x01k",
        406,
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}',
    ),
    (
        [],
        "",
        b"\x20\x00\x00\x00\x00\x0a\x03BCCS\x00\x00\x00\x01k",
        406,
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"BCC",longstr}',
    ),
    (
        [],
        "",
        b"\x02\x00\x15amq.rabbitmq.reply-to",
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    ),
]


class ErrorScenarios(Scenario):
    """Each with its code and its text."""

    def named(self, text: str) -> str:
        for placeholder in (Q, X, OTHER):
            text = text.replace(placeholder, self.name(placeholder[1:-1]))
        return text.replace("<user>", self.user)

    def with_names(self, method: Method) -> Method:
        return type(method)(*(self._put_in(getattr(method, field)) for field in method.FIELDS))

    def _put_in(self, value: Any) -> Any:
        return self.named(value) if isinstance(value, str) else value

    def prepared(self, before: list[Method]) -> Any:
        client = self.client()
        for method in before:
            client.send(1, self.with_names(method))
            client.next(1)
        return client

    def test_channel_errors(self) -> None:
        for before, method, code, text in CHANNEL_ERRORS:
            self.setUp()
            client = self.prepared(before)
            client.send(1, self.with_names(method))
            close = self.refused(client, 1, code, self.named(text))
            self.assertIsInstance(close, Channel.Close)
            self.assertEqual((close.class_id, close.method_id), (method.CLASS_ID, method.METHOD_ID))
            # It is over when the client says so, and the connection goes on.
            client.send(1, Channel.CloseOk())
            client.open(1)
            client.close()

    def test_connection_errors(self) -> None:
        for number, before, method, code, text in CONNECTION_ERRORS:
            self.setUp()
            client = self.prepared(before)
            if self.is_later and "unknown exchange type" in text:
                continue  # that is an error of the channel then
            client.send(number, self.with_names(method))
            close = self.refused(client, number, code, self.named(text))
            self.assertIsInstance(close, Connection.Close)
            self.assertEqual((close.class_id, close.method_id), (method.CLASS_ID, method.METHOD_ID))
            client.send(0, Connection.CloseOk())
            self.assertTrue(client.ends())

    def test_publish_errors(self) -> None:
        """On the short road, which the second message takes, as on the other."""
        for before, exchange, raw, code, text in PUBLISH_ERRORS:
            if self.is_later and "invalid message" in text:
                continue  # which it takes then
            for first in (False, True):
                self.setUp()
                client = self.prepared([*before, QUEUE])
                client.send(1, Confirm.Select())
                client.next(1)
                if first and not exchange:
                    client.publish(1, "", self.name("q"))
                    client.expect(1, Basic.Ack)
                client.publish(1, self.named(exchange), self.name("q"), b"body", raw=raw)
                close = self.refused(client, 1, code, self.named(text))
                self.assertEqual((close.class_id, close.method_id), (60, 40))
                client.close()

    def test_immediate(self) -> None:
        client = self.client()
        client.raw(content(1, Basic.Publish(0, "", "q", immediate=True), b""))
        self.refused(client, 0, 540, "NOT_IMPLEMENTED - immediate=true")

    def test_locked_queues(self) -> None:
        """What is exclusive is of one connection; others must not even look."""
        client = self.client()
        queue = self.declared(client, exclusive=True)
        client.call(1, Queue.Bind(0, queue, "amq.direct", "bound"), Queue.BindOk)
        for method in (
            Queue.Declare(0, queue, exclusive=True),
            Queue.Declare(0, queue, passive=True),
            Queue.Delete(0, queue),
            Queue.Bind(0, queue, "amq.direct", "k"),
            Queue.Purge(0, queue),
            Basic.Consume(0, queue, "t"),
            Basic.Get(0, queue),
            Queue.Unbind(0, queue, "amq.direct", "bound"),
        ):
            other = self.client()
            other.send(1, method)
            self.refused(other, 1, 405, self.named(LOCKED.replace(Q, queue)))
            other.close()
        # There is nothing to undo.
        self.client().call(1, Queue.Unbind(0, queue, "amq.direct", "k"), Queue.UnbindOk)

    def test_what_is_harmless(self) -> None:
        client = self.client()
        client.call(1, Queue.Delete(0, self.name("none")), Queue.DeleteOk)
        client.call(1, Exchange.Delete(0, self.name("none")), Exchange.DeleteOk)
        client.call(1, Queue.Unbind(0, self.name("none"), "amq.direct", "k"), Queue.UnbindOk)
        client.call(1, Queue.Unbind(0, self.name("none"), self.name("none"), "k"), Queue.UnbindOk)
        client.call(1, Exchange.Declare(0, "amq.direct", "direct", durable=True), Exchange.DeclareOk)
        self.assertEqual(client.call(1, Basic.Cancel("none"), Basic.CancelOk).consumer_tag, "none")
        client.send(1, Basic.Ack(0, True))
        client.call(1, Confirm.Select(), Confirm.SelectOk)
        client.call(1, Confirm.Select(), Confirm.SelectOk)
        client.call(0, Connection.UpdateSecret(b"new", "reason"), Connection.UpdateSecretOk)

    def test_a_long_name_in_a_text(self) -> None:
        client = self.client()
        client.send(1, Queue.Declare(0, "n" * 255, passive=True))
        close = client.next(1).method
        self.assertEqual(close.reply_code, 404)
        self.assertEqual(close.reply_text, "NOT_FOUND - no queue '" + "n" * 230 + "...")


class ErrorsInMemoryTests(ErrorScenarios, InMemory):
    pass


class ErrorsOnRabbitMQTests(ErrorScenarios, OnRabbitMQ):
    pass


del Scenario, ErrorScenarios
