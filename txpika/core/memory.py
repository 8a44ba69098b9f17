# -*- test-case-name: txpika.test.test_memory_of_large -*-
"""
What C's library does with the memory of large messages.

glibc gives what is free at the end of its heap back to the system once that is more than twice the largest block it has
got by itself and freed (M_MMAP_THRESHOLD in mallopt(3)). So a program that has two messages of 1 MB at a time loses the
memory of both whenever both are done with, and gets it back page by page: 512 faults, 1.3 ms on a virtual machine. Once
it has freed a block of four messages, it keeps eight: to receive them in a blocking program takes 0.44 of the CPU, to
publish them with callbacks 0.8 (3.11, glibc 2.36). Elsewhere this changes nothing.
"""

from __future__ import annotations

from contextlib import suppress

#: Of blocks of more than 32 MiB, with what it puts around them, glibc takes no notice; in bytes.
MAX_BLOCK = 32 * 1024 * 1024 - 16 * 1024


class Memory:
    """
    @ivar largest: No message was larger so far, in bytes: a power of two.
    """

    def __init__(self) -> None:
        self.largest = 0

    def expect(self, size: int) -> None:
        """
        This one is larger than L{largest}, and others like it are to be expected.

        @param size: Of the message, in bytes.
        """
        before, self.largest = self.largest, 1 << (size - 1).bit_length()
        if 4 * before < MAX_BLOCK:
            with suppress(MemoryError):
                bytes(min(4 * self.largest, MAX_BLOCK))  # larger than any before: by itself, and no page is touched


#: Of this process.
memory = Memory()
