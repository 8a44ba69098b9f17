"""Tests of the benchmarks: of all but the speed of what they measure."""
