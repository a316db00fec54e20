"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import kernellab

MODULES = [
    module.name
    for module in pkgutil.walk_packages(kernellab.__path__, "kernellab.")
    if not module.name.startswith("kernellab.commands.jupyter")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples of {name} fail"
