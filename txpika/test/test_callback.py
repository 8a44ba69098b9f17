"""Tests for L{txpika.callback}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.callback import CallbackManager
from txpika.frames import Header, Heartbeat, Method
from txpika.spec import Basic, BasicProperties, Queue


class CallbackTests(SynchronousTestCase):
    """Callbacks of one connection."""

    def setUp(self) -> None:
        self.manager = CallbackManager()
        self.heard: list[Any] = []

    def hear(self, *args: Any, **keywords: Any) -> None:
        self.heard.append((args, keywords) if keywords else args)

    def test_what_names_the_same_method_is_the_same_key(self) -> None:
        sanitize = self.manager.sanitize
        declared = Queue.DeclareOk("q", 0, 0)
        for key in (Queue.DeclareOk, declared, Method(1, declared), "Queue.DeclareOk"):
            self.assertEqual(sanitize(key), "Queue.DeclareOk")
        self.assertEqual(sanitize(Header(1, 0, BasicProperties())), "Header")
        self.assertEqual(sanitize(Heartbeat), "Heartbeat")
        self.assertEqual(sanitize(7), "7")

    def test_added_by_class_heard_by_frame(self) -> None:
        self.assertEqual(self.manager.add(1, Queue.DeclareOk, self.hear), (1, "Queue.DeclareOk"))
        frame = Method(1, Queue.DeclareOk("q", 0, 0))
        self.assertIs(self.manager.process(1, frame, None, frame), True)
        self.assertEqual(self.heard, [(frame,)])

    def test_taken_at_the_end(self) -> None:
        """Those of one key are given back, all of the prefix are forgotten."""
        self.manager.add(1, "closed", self.hear)
        self.manager.add(1, "other", self.hear)
        self.manager.add(2, "closed", self.hear)
        self.assertEqual(self.manager.take(1, "closed"), [self.hear])
        self.assertEqual(self.manager.take(1, "closed"), [])
        self.assertFalse(self.manager.process(1, "other", None))
        self.assertTrue(self.manager.process(2, "closed", None))

    def test_nobody_hears(self) -> None:
        self.manager.add(1, "a", self.hear)
        self.assertIs(self.manager.process(2, "a", None), False)
        self.assertIs(self.manager.process(1, "b", None), False)
        self.assertEqual(self.heard, [])

    def test_a_one_shot_hears_once_others_always(self) -> None:
        self.manager.add(1, "a", self.hear)
        self.manager.add(1, "a", lambda: self.heard.append("always"), one_shot=False)
        self.assertEqual(self.manager.pending(1, "a"), 2)
        for _ in range(3):
            self.manager.process(1, "a", None)
        self.assertEqual(self.heard, [(), "always", "always", "always"])
        self.assertEqual(self.manager.pending(1, "a"), 1)

    def test_two_managers_have_nothing_in_common(self) -> None:
        """In 2011 the events of one connection went to callbacks of another."""
        other = CallbackManager()
        other.add(0, "Connection.Start", self.hear)
        self.assertFalse(self.manager.process(0, "Connection.Start", None))
        self.assertEqual(self.heard, [])

    def test_the_one_of_the_process_is_always_the_same(self) -> None:
        self.assertIs(CallbackManager.instance(), CallbackManager.instance())
        self.assertIsNot(CallbackManager(), CallbackManager.instance())

    def test_pending_is_none_for_none(self) -> None:
        self.assertIsNone(self.manager.pending(1, "a"))
        self.manager.add(1, "a", self.hear)
        self.manager.process(1, "a", None)
        self.assertIsNone(self.manager.pending(1, "a"))

    def test_the_same_again_is_called_once(self) -> None:
        self.manager.add(1, "a", self.hear)
        self.assertIsNone(self.manager.add(1, "a", self.hear))
        self.assertEqual(self.manager.pending(1, "a"), 1)
        self.assertIsNotNone(self.manager.add(1, "b", self.hear))
        self.assertIsNotNone(self.manager.add(1, "a", self.hear, only_caller=self))
        self.manager.process(1, "a", None)
        self.assertEqual(len(self.heard), 1)

    def test_only_one_caller(self) -> None:
        self.manager.add(1, "a", self.hear, one_shot=False, only_caller=self)
        self.assertFalse(self.manager.process(1, "a", self.manager, 1))
        self.assertTrue(self.manager.process(1, "a", self, 2))
        self.assertEqual(self.heard, [(2,)])

    def test_only_callers_of_one_class(self) -> None:
        """So it was in 2011."""
        self.manager.add(1, "a", self.hear, only_caller=CallbackTests)
        self.assertFalse(self.manager.process(1, "a", self.manager))
        self.assertEqual(self.manager.pending(1, "a"), 1)
        self.assertTrue(self.manager.process(1, "a", self, word="w"))
        self.assertEqual(self.heard, [((), {"word": "w"})])

    def test_one_that_raises_is_logged_and_the_others_hear(self) -> None:
        def raises() -> None:
            raise ZeroDivisionError("by the user")

        self.manager.add(1, "a", raises)
        self.manager.add(1, "a", self.hear)
        with self.assertLogs("txpika.callback", "ERROR") as logs:
            self.assertTrue(self.manager.process(1, "a", None))
        self.assertEqual(self.heard, [()])
        self.assertIn("by the user", "".join(logs.output))

    def test_what_ends_the_program_is_not_caught(self) -> None:
        def leaves() -> None:
            raise SystemExit

        self.manager.add(1, "a", leaves)
        self.assertRaises(SystemExit, self.manager.process, 1, "a", None)

    def test_one_shots_are_removed_before_they_are_called(self) -> None:
        def again() -> None:
            self.heard.append(self.manager.pending(1, "a"))
            self.manager.process(1, "a", None)

        self.manager.add(1, "a", again)
        self.manager.process(1, "a", None)
        self.assertEqual(self.heard, [None])

    def test_what_is_added_meanwhile_hears_the_next_time(self) -> None:
        self.manager.add(1, "a", lambda: self.manager.add(1, "a", self.hear))
        self.manager.process(1, "a", None)
        self.assertEqual(self.heard, [])
        self.manager.process(1, "a", None)
        self.assertEqual(self.heard, [()])

    def test_what_is_removed_meanwhile_does_not_hear(self) -> None:
        self.manager.add(1, "a", lambda: self.manager.remove(1, "a", self.hear), one_shot=False)
        self.manager.add(1, "a", self.hear, one_shot=False)
        self.manager.process(1, "a", None)
        self.assertEqual(self.heard, [])
        self.manager.add(2, "a", lambda: self.manager.clear(2), one_shot=False)
        self.manager.add(2, "a", self.hear, one_shot=False)
        self.assertTrue(self.manager.process(2, "a", None))
        self.assertEqual(self.heard, [])

    def test_remove(self) -> None:
        self.manager.add(1, Basic.GetEmpty, self.hear)
        self.manager.add(1, Basic.GetEmpty, self.setUp, one_shot=False)
        self.assertFalse(self.manager.remove(1, Basic.GetEmpty, self.tearDown))
        self.assertTrue(self.manager.remove(1, "Basic.GetEmpty", self.hear))
        self.assertEqual(self.manager.pending(1, Basic.GetEmpty), 1)
        self.assertTrue(self.manager.remove(1, Basic.GetEmpty))
        self.assertFalse(self.manager.remove(1, Basic.GetEmpty))
        self.assertIsNone(self.manager.pending(1, Basic.GetEmpty))

    def test_clear_forgets_one_prefix(self) -> None:
        for prefix in (1, 2):
            self.manager.add(prefix, "a", self.hear, one_shot=False)
        self.manager.clear(1)
        self.manager.clear(1)
        self.assertFalse(self.manager.process(1, "a", None))
        self.assertTrue(self.manager.process(2, "a", None))

    def test_channels_that_came_and_went_leave_nothing(self) -> None:
        for channel in range(100):
            self.manager.add(channel, "a", self.hear)
            self.manager.process(channel, "a", None)
            self.manager.add(channel, "b", self.hear)
            self.manager.remove(channel, "b")
        self.assertEqual(self.manager._entries, {})

    def test_what_cannot_be_called_is_refused(self) -> None:
        nothing: Any = None
        error = self.assertRaises(TypeError, self.manager.add, 1, "a", nothing)
        self.assertIn("callback", str(error))
