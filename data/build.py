"""Make the data files again, byte for byte, from the packages that ship the originals.

Run ``python data/build.py`` for all of them, or name some: ``python data/build.py digits.npz``.
Needs statsmodels, scikit-learn, scikit-image and networkx (the extra ``data``), which kernellab
itself does not. Checksums go to README.md. The weights of trained networks are the one exception:
another machine's rounding gives other last digits; their first losses tell whether it is the same
training.
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def mauna_loa_co2() -> bytes:
    """Weekly CO2 as ``date,co2_ppm`` lines; weeks without a measurement are left out."""
    from statsmodels.datasets import co2

    series = co2.load_pandas().data["co2"].dropna()
    lines = [f"{date:%Y-%m-%d},{value:.1f}\n" for date, value in series.items()]
    return ("date,co2_ppm\n" + "".join(lines)).encode()


def el_nino() -> bytes:
    """Monthly sea temperatures as ``year,month,celsius`` lines."""
    from statsmodels.datasets import elnino

    table = elnino.load_pandas().data
    lines = [
        f"{row[0]:.0f},{month},{value:.2f}\n"
        for row in table.to_numpy()
        for month, value in enumerate(row[1:], start=1)
    ]
    return ("year,month,celsius\n" + "".join(lines)).encode()


def sunspots() -> bytes:
    """Yearly sunspot numbers as ``year,number`` lines."""
    from statsmodels.datasets import sunspots

    rows = sunspots.load_pandas().data.to_numpy()
    return ("year,number\n" + "".join(f"{y:.0f},{v:.1f}\n" for y, v in rows)).encode()


def digits() -> bytes:
    """The 1,797 images and labels of scikit-learn's digits, as bytes."""
    from sklearn.datasets import load_digits

    original = load_digits()
    return _npz(
        images=original.images.astype(np.uint8),
        labels=original.target.astype(np.uint8),
    )


def breast_cancer() -> bytes:
    """The 569 tumours of scikit-learn's breast cancer set; 1 stands for malignant."""
    from sklearn.datasets import load_breast_cancer

    original = load_breast_cancer()
    return _npz(
        measurements=original.data.astype(np.float64),
        malignant=(original.target == 0).astype(np.uint8),
    )


def diabetes() -> bytes:
    """The 442 patients of scikit-learn's diabetes set, in their own units."""
    from sklearn.datasets import load_diabetes

    original = load_diabetes(scaled=False)
    return _npz(
        measurements=original.data.astype(np.float64),
        progression=original.target.astype(np.float64),
    )


def wine() -> bytes:
    """The 178 wines of scikit-learn's wine set."""
    from sklearn.datasets import load_wine

    original = load_wine()
    return _npz(
        measurements=original.data.astype(np.float64),
        cultivar=original.target.astype(np.uint8),
    )


def iris() -> bytes:
    """The 150 flowers of scikit-learn's iris set."""
    from sklearn.datasets import load_iris

    original = load_iris()
    return _npz(
        measurements=original.data.astype(np.float64),
        species=original.target.astype(np.uint8),
    )


def social_graphs() -> bytes:
    """Two of networkx's graphs as lists of edges with weights; a node is its place in a list."""
    import networkx

    arrays = {}
    for name, graph in (
        ("karate", networkx.karate_club_graph()),
        ("les_miserables", networkx.les_miserables_graph()),
    ):
        place = {node: i for i, node in enumerate(graph)}
        edges = sorted(
            (*sorted((place[a], place[b])), weight) for a, b, weight in graph.edges(data="weight")
        )
        arrays[f"{name}_edges"] = np.array([edge[:2] for edge in edges], dtype=np.uint8)
        arrays[f"{name}_weights"] = np.array([edge[2] for edge in edges], dtype=np.uint8)
        arrays[f"{name}_names"] = np.array([str(node) for node in graph])
    clubs = networkx.karate_club_graph().nodes(data="club")
    arrays["karate_groups"] = np.array([club == "Officer" for _, club in clubs], dtype=np.uint8)
    return _npz(**arrays)


def photographs() -> bytes:
    """Squares of three of scikit-image's pictures, averaged over blocks to 128 pixels a side."""
    from skimage import data

    return _npz(
        camera=_block_means(data.camera(), 4),
        coffee=_block_means(data.coffee()[8:392, 108:492], 3),
        astronaut=_block_means(data.astronaut(), 4),
    )


def posterior_networks() -> bytes:
    """Three networks of the lab gps_and_networks, trained from seed 0: about three minutes."""
    from kernellab.methods.gaussian_processes import gps_and_networks as lab

    one_prior = lab.as_mixtures([[0.3, 0.4, 0.3]], [[-1.5, 0.0, 1.5]], [[0.7, 0.7, 0.7]])
    arrays = {}
    for name, sensor, steps, batch, fixed in (
        ("direct", "direct", 3000, 64, None),
        ("direct_one_prior", "direct", 3000, 64, one_prior),
        ("range", "range", 6000, 96, None),
    ):
        states = list(lab.train_posterior_network(sensor, steps, batch, fixed_prior=fixed))
        arrays[f"{name}_weights"] = lab.pack(states[-1][1]).astype(np.float32)
        arrays[f"{name}_losses"] = np.array([loss for *_, loss in states[:40]])
    return _npz(**arrays)


def kspace_network() -> bytes:
    """The network of the lab attention_on_grids, trained from seed 0: about six minutes."""
    from kernellab.methods.attention import attention_on_grids as lab

    known = lab.to_frequencies(lab.ellipse_phantoms(2000, 24, 1))
    *_, (_, (network, _)) = lab.train_kspace(lab.kspace_transformer(0), known, 7000, 2)
    return _npz(weights=lab.weights_vector(network).astype(np.float32))


def _block_means(image: np.ndarray, block: int) -> np.ndarray:
    """Means over block x block pixels, as bytes; halves are rounded to even numbers."""
    rows, columns = image.shape[0] // block, image.shape[1] // block
    blocks = image.reshape(rows, block, columns, block, *image.shape[2:]).astype(np.int64)
    return np.rint(blocks.sum(axis=(1, 3)) / block**2).astype(np.uint8)


def _npz(**arrays: np.ndarray) -> bytes:
    """An .npz file whose bytes depend on the arrays alone: no times, no compressor's version."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            piece = io.BytesIO()
            np.lib.format.write_array(piece, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            archive.writestr(entry, piece.getvalue())
    return content.getvalue()


BUILDERS = {
    "mauna_loa_co2.csv": mauna_loa_co2,
    "el_nino.csv": el_nino,
    "sunspots.csv": sunspots,
    "digits.npz": digits,
    "breast_cancer.npz": breast_cancer,
    "diabetes.npz": diabetes,
    "wine.npz": wine,
    "iris.npz": iris,
    "social_graphs.npz": social_graphs,
    "photographs.npz": photographs,
    "posterior_networks.npz": posterior_networks,
    "kspace_network.npz": kspace_network,
}


def with_checksum(readme: str, file: str, checksum: str) -> str:
    """The README's text with the last cell of the file's row replaced."""
    lines = readme.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if line.startswith(f"| {file} |")]
    if len(rows) != 1:
        raise ValueError(f"README.md must have one row for {file}, it has {len(rows)}")
    cells = lines[rows[0]].rstrip().rstrip("|").split("|")
    lines[rows[0]] = "|".join([*cells[:-1], f" {checksum} |\n"])
    return "".join(lines)


def main() -> None:
    """Build the files that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(BUILDERS)}")
    files = parser.parse_args().files or list(BUILDERS)
    unknown = sorted(set(files) - set(BUILDERS))
    if unknown:
        parser.error(f"no builder for {', '.join(unknown)}; there are {', '.join(BUILDERS)}")
    for file in files:
        content = BUILDERS[file]()
        (HERE / file).write_bytes(content)
        readme = HERE / "README.md"
        checksum = hashlib.sha256(content).hexdigest()
        readme.write_text(with_checksum(readme.read_text(encoding="utf-8"), file, checksum))
        print(f"{file}: {len(content):,} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
