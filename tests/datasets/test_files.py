"""Every file is what its row in data/README.md says; a missing or damaged one is named."""

import hashlib
import importlib.util
import shutil

import pytest

from kernellab import datasets, paths
from kernellab.datasets import _files

LOADERS = {
    "mauna_loa_co2.csv": "mauna_loa_co2",
    "el_nino.csv": "el_nino",
    "sunspots.csv": "sunspots",
    "digits.npz": "digits",
    "breast_cancer.npz": "breast_cancer",
    "photographs.npz": "photograph",
    "diabetes.npz": "diabetes",
    "wine.npz": "wine",
    "iris.npz": "iris",
    "social_graphs.npz": "social_graph",
    "posterior_networks.npz": "posterior_networks",
    "kspace_network.npz": "kspace_network",
}

SIMULATED = ["toy3d", "toy_scene"]  # computed by their loaders, without a file


@pytest.fixture
def copied(tmp_path, monkeypatch):
    for name in ("README.md", *LOADERS):
        shutil.copy(paths.DATA / name, tmp_path / name)
    monkeypatch.setattr(paths, "DATA", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build", paths.DATA / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_files_loaders_and_builders_agree(build):
    in_folder = {f.name for f in paths.DATA.iterdir() if f.suffix in (".csv", ".npz")}
    assert in_folder == set(_files.checksums()) == set(LOADERS) == set(build.BUILDERS)
    assert sorted([*LOADERS.values(), *SIMULATED]) == datasets.__all__ == dir(datasets)
    for file, checksum in _files.checksums().items():
        assert hashlib.sha256(_files.verified(file)).hexdigest() == checksum
    readme = (paths.DATA / "README.md").read_text(encoding="utf-8")
    assert all(f"`{loader}" in readme for loader in SIMULATED)


def test_every_row_is_complete():
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in (paths.DATA / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(tuple(f"| {file} |" for file in LOADERS))
    ]
    assert [len(row) for row in rows] == [6] * len(LOADERS)
    assert all(len(cell) > 3 for row in rows for cell in row)


@pytest.mark.parametrize(("file", "loader"), LOADERS.items())
def test_missing_and_damaged_files_are_named(copied, file, loader):
    load = getattr(datasets, loader)
    load()
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} is damaged.*git checkout -- data/{file}"):
        load()
    (copied / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing.*git checkout -- data/{file}"):
        load()


def test_a_file_without_its_row_is_refused(copied):
    readme = copied / "README.md"
    readme.write_text(readme.read_text().replace("| digits.npz |", "| other.npz |"))
    with pytest.raises(ValueError, match=r"must list digits\.npz"):
        datasets.digits()
    readme.unlink()
    with pytest.raises(FileNotFoundError, match="table of checksums"):
        datasets.digits()


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("mauna_loa_co2.csv", "statsmodels"),
        ("digits.npz", "sklearn"),
        ("breast_cancer.npz", "sklearn"),
        ("photographs.npz", "skimage"),
    ],
)
def test_build_makes_the_same_bytes(build, file, package):
    pytest.importorskip(package)
    assert build.BUILDERS[file]() == (paths.DATA / file).read_bytes()


def test_build_puts_the_checksum_into_its_row(build):
    before = "# Data\n| a.csv | x | old |\n| b.csv | y | old |\n"
    after = "# Data\n| a.csv | x | new |\n| b.csv | y | old |\n"
    assert build.with_checksum(before, "a.csv", "new") == after
    with pytest.raises(ValueError, match="one row for c.csv"):
        build.with_checksum(before, "c.csv", "new")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="penguins"):
        datasets.penguins  # noqa: B018
