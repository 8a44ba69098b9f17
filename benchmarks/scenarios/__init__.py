# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
What is measured: one module per scenario.

Each has a docstring that says what is measured and why it is fair, which goes into the page as it stands, and a
C{SCENARIO} with its numbers and its promises. To add one, add a module: this package finds it. Owns the finding and the
choosing.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

from benchmarks.scenario import Scenario


def _found() -> list[Scenario]:
    scenarios = []
    for name in (module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        scenarios.append(dataclasses.replace(module.SCENARIO, key=name, about=inspect.getdoc(module) or ""))
    return sorted(scenarios, key=lambda scenario: scenario.order)


#: All of them, in the order of the tables.
SCENARIOS: tuple[Scenario, ...] = tuple(_found())


def chosen(keys: str) -> list[Scenario]:
    """
    @param keys: Keys of scenarios, separated by commas; empty for all.
    @return: Those scenarios, in the order of the tables, together with those that their promises compare them with.
    @raise ValueError: A key that is not a scenario's.
    """
    known = {scenario.key: scenario for scenario in SCENARIOS}
    wanted = {key.strip() for key in keys.split(",") if key.strip()} or set(known)
    unknown = wanted - set(known)
    if unknown:
        raise ValueError(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted |= {promise.scenario for key in wanted for promise in known[key].promises if promise.scenario}
    return [scenario for scenario in SCENARIOS if scenario.key in wanted]
