import argparse
import json
import math
import time

import numpy as np
import pytest

from kernellab.cli import CommandError, UsageError
from kernellab.commands import bench
from kernellab.commands.bench import OURS, Row, Timing, find_rows, growth_exponents, measure


@pytest.fixture
def benchmarks(tmp_path, monkeypatch):
    """Return a folder of benchmarks with one module: a sum, at two sizes."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "bench_sums.py").write_text(
        "import numpy as np\n"
        "from kernellab.commands.bench import Row\n"
        "def missing():\n"
        "    import a_package_nobody_has\n"
        "def rows():\n"
        "    for n in (100, 1000):\n"
        "        x = np.arange(n)\n"
        "        peers = {'loop': lambda x=x: sum(x.tolist()), 'nobody': missing}\n"
        "        yield Row('sum', f'n={n}, d=1', lambda x=x: x.sum(), peers)\n"
    )
    monkeypatch.setattr(bench, "TESTS", tmp_path)
    for variable in bench._THREAD_VARIABLES:  # restored after the test
        monkeypatch.setenv(variable, "1")
    return folder


def run(*words):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(words))


def test_table_and_json(benchmarks, tmp_path, capsys):
    file = tmp_path / "times.json"
    assert run("--json", str(file)) == 0
    out = capsys.readouterr().out
    assert "not installed (a_package_nobody_has)" in out
    assert "growth" in out
    report = json.loads(file.read_text())
    assert [each["side"] for each in report["timings"]] == [OURS, "loop", "nobody"] * 2
    assert report["timings"][2]["best"] is None
    assert {each["side"] for each in report["growth"]} == {OURS, "loop"}


def test_only_json_reaches_the_standard_output(benchmarks, capsys):
    assert run("--json", "-", "--quick", "--only", "SUM") == 0
    report = json.loads(capsys.readouterr().out)
    assert {each["size"] for each in report["timings"]} == {"n=100, d=1"}


def test_wrong_use(benchmarks):
    with pytest.raises(CommandError, match="no row matches 'nothing'"):
        run("--only", "nothing")
    with pytest.raises(UsageError, match="--threads must be at least 1"):
        run("--threads", "0")


def test_a_module_whose_peer_is_missing_is_reported(benchmarks, capsys):
    (benchmarks / "bench_other.py").write_text("import a_package_nobody_has\n")
    assert run("--quick") == 1
    assert "left out: rows of bench_other.py" in capsys.readouterr().err


def test_results_that_disagree_are_not_timed():
    x = np.ones(3)
    row = Row("x", "n=3", lambda: x, {"wrong": lambda: x + 1e-3, "shape": lambda: x[:2]})
    ours, wrong, shape = measure(row, budget=0.0)
    assert not ours.problem and ours.ratio == 1
    assert wrong.problem.startswith("disagrees by 1.0e-03") and not wrong.times
    assert shape.problem == "disagrees: shape (2,), ours (3,)" and math.isnan(shape.best)


def test_nan_never_agrees():
    row = Row("x", "n=1", lambda: np.ones(1), {"nan": lambda: np.array([np.nan])})
    assert list(measure(row, budget=0.0))[1].problem.startswith("disagrees")


def test_the_slower_side_has_the_larger_ratio():
    def slow():
        time.sleep(0.002)
        return np.ones(1)

    row = Row("x", "n=1", lambda: np.ones(1), {"slow": slow})
    assert list(measure(row, budget=0.0))[1].ratio > 10


def test_growth_is_the_slope_over_the_first_size():
    timings = [
        Timing("a", f"n={n}, d=2", OURS, best=1e-9 * n**2, times=[1.0]) for n in (10, 100, 1000)
    ]
    assert growth_exponents(timings) == {("a", "d=2", OURS): pytest.approx(2.0)}


def test_rows_of_the_repository_are_found():
    rows, problems = find_rows("kernels")
    assert not problems
    assert {row.name for row in rows} >= {"Gaussian Gram", "Gaussian matvec"}
