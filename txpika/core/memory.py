# -*- test-case-name: txpika.test.test_memory_of_large -*-
"""
What the C library does with the memory of large messages.

glibc returns free memory at the end of its heap to the system once there is more than twice the largest block that it
mapped separately and freed (M_MMAP_THRESHOLD in mallopt(3)). So a program that has two messages of 1 MB at a time
loses the memory of both whenever both are done with, and gets it back page by page: 512 faults, 1.3 ms on a virtual
machine. Once it has freed a block of four messages, it keeps eight: receiving them in a blocking program then takes
0.44 of the CPU, publishing them with callbacks 0.8 (3.11, glibc 2.36). Elsewhere this changes nothing.
"""

from __future__ import annotations

from contextlib import suppress

#: glibc takes no notice of blocks of more than 32 MiB, including what it puts around them; in bytes.
MAX_BLOCK = 32 * 1024 * 1024 - 16 * 1024


class Memory:
    """
    @ivar largest: No message so far was larger, in bytes; a power of two.
    """

    def __init__(self) -> None:
        self.largest = 0

    def expect(self, size: int) -> None:
        """
        This message is larger than L{largest}, and more like it are to be expected.

        @param size: Of the message, in bytes.
        """
        before, self.largest = self.largest, 1 << (size - 1).bit_length()
        if 4 * before < MAX_BLOCK:
            with suppress(MemoryError):
                bytes(min(4 * self.largest, MAX_BLOCK))  # larger than any before: mapped apart, and no page is touched


#: The one of this process.
memory = Memory()
