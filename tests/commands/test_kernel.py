"""The course's kernel: ready ahead of the first cell, and otherwise as any other."""

import subprocess
import sys
import time

from jupyter_client.manager import KernelManager

from kernellab.commands import _kernel
from kernellab.commands._kernelspec import OwnKernelSpecManager


def test_steps_take_turns_and_a_failing_one_does_not_stop_them(monkeypatch):
    taken, scheduled = [], []

    def fails():
        taken.append("fails")
        raise ImportError("not installed")

    monkeypatch.setattr(_kernel, "steps", lambda: iter([fails, lambda: taken.append("works")]))
    _kernel.prepare_soon(lambda pause, call: scheduled.append(call))
    for turns in range(1, 4):
        assert len(scheduled) == turns  # one at a time: messages come in between
        scheduled[-1]()
    assert taken == ["fails", "works"] and len(scheduled) == 3


def test_starting_it_imports_nothing_heavy():
    code = "import sys, kernellab.commands._kernel; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_real_kernel_gets_ready_by_itself():
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=OwnKernelSpecManager())
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()

    def says(expression):
        reply = client.execute_interactive(
            "", user_expressions={"x": expression}, store_history=False, timeout=60
        )
        return reply["content"]["user_expressions"]["x"]["data"]["text/plain"]

    try:
        client.wait_for_ready(timeout=60)
        deadline = time.monotonic() + 60
        while says("'numba' in __import__('sys').modules") == "False":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert says("'kernellab.lab.explorer' in __import__('sys').modules") == "True"
        assert says("'kernellab' in globals() or 'numpy' in globals()") == "False"
        assert says("__import__('os').getcwd() in __import__('sys').path") == "False"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
