"""environment.yml and README.md say what pyproject.toml says."""

import pytest

from kernellab.commands import check
from kernellab.paths import ROOT


def test_environment_fits_pyproject():
    assert check.environment_faults() == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("python=3.13", "python=3.9", "python 3.9 is not"),
        ("python=3.13", "python", "must pin python"),
        ("  - pip\n", "  - pip\n  - numpy\n", "belong into pyproject.toml"),
        ("-e .[present]", "-e .[nothing]", "the extra nothing"),
        ("-e .[present]", "kernellab", "must install this checkout"),
    ],
)
def test_a_difference_is_found(old, new, message, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    text = (ROOT / "environment.yml").read_text()
    assert old in text
    (tmp_path / "environment.yml").write_text(text.replace(old, new))
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert any(message in fault for fault in check.environment_faults())


def test_readme_commands_make_their_own_environment():
    for marker in check.COMMAND_MARKERS:
        command = check.readme_command(marker)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    assert check.readme_command("test-command").endswith("kernellab test")
    assert check.readme_command("open-command").endswith("kernellab lab")


def test_ci_runs_the_command_of_the_readme():
    script = (ROOT / ".ci/run").read_text()
    assert "<!-- test-command -->" in script
    assert "pip install" not in script, "CI must take its command from README.md"


def test_no_registry_host_is_named():
    hosts = ("pypi.org", "pythonhosted.org", "anaconda.org", "registry.npmjs")
    for name in ("README.md", "environment.yml", "pyproject.toml", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not any(host in text for host in hosts), name
