"""The atlas: search, links, the map, paths, progress, and text forms that stay the same."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from kernellab import paths
from kernellab.lab import atlas, catalogue, paper_map, progress


def test_search_without_words_is_the_whole_catalogue_in_order():
    assert atlas.search() == catalogue.papers()


def test_search_combines_words_part_and_status():
    for paper in atlas.search("kernel", part="attention", status="planned"):
        assert paper.part == "attention"
        assert paper.status == "planned"
        assert paper in catalogue.find("kernel")
    counts = [len(atlas.search(status=status)) for status in atlas.STATUSES]
    assert sum(counts) == len(catalogue.papers())


@pytest.mark.parametrize(
    ("given", "named"),
    [({"words": 3}, "words"), ({"part": "cooking"}, "part"), ({"status": "done"}, "status")],
)
def test_search_refuses_what_it_does_not_know(given, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        atlas.search(**given)


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is missing, so the page's search cannot run here")
@pytest.mark.parametrize(
    "words", ["", "kernel", "Gaussian splat", "zhai 2024", "2402", "SCHÖLKOPF"]
)
def test_the_page_searches_as_the_catalogue_does(words, tmp_path):
    script = (atlas._STATIC / "atlas.js").read_text(encoding="utf-8")
    content = atlas.Atlas().content()
    module = tmp_path / "atlas.mjs"
    module.write_text(
        f"{script}\nconst content = {json.dumps(content)};\n"
        "const by = (rows) => new Map(rows.map((row) => [row.name, row]));\n"
        "const papers = searchable(content, by(content.parts), by(content.labs));\n"
        f"const found = matching(papers, {{ words: {json.dumps(words)}, part: '', status: '' }});\n"
        "console.log(JSON.stringify(found.map((paper) => paper.slug)));\n"
    )
    done = subprocess.run([NODE, str(module)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [paper.slug for paper in atlas.search(words)]


def test_every_link_leads_to_a_file_and_a_section():
    for paper in catalogue.papers():
        link = atlas.paper_link(paper)
        if paper.status == "planned":
            assert link is None
            continue
        file, _, fragment = link.partition("#")
        notebook = paths.NOTEBOOKS / file
        assert notebook.is_file()
        if paper.status == "works":
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            cell = next(c for c in cells if fragment == f"cell-id={c['id']}")
            assert f'<a id="{paper.slug}"></a>' in "".join(cell["source"])


def test_the_map_is_deterministic_and_keeps_parts_together():
    first = paper_map.positions()
    paper_map.positions.cache_clear()
    second = paper_map.positions()
    np.testing.assert_array_equal(first, second)
    assert first.shape == (len(catalogue.papers()), 2)
    assert first.min() == 0.0
    assert first.max() == 1.0
    groups = [paper.part for paper in catalogue.papers()]
    share = paper_map.neighbour_agreement(first, groups)
    shuffled = list(np.random.default_rng(0).permutation(groups))
    assert share > 0.5  # measured 0.64
    assert paper_map.neighbour_agreement(first, shuffled) < 0.15


def test_no_two_points_of_the_map_hide_each_other():
    places = paper_map.positions()
    distance = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.008


def test_tf_idf_rows_are_unit_vectors_of_shared_words():
    rows = paper_map.tf_idf(["ridge kernel", "ridge bandit", "kernel bandit", "alone"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0])
    assert rows.shape[1] == 3  # "alone" and all pairs of words occur once


def test_kernel_pca_of_the_linear_kernel_is_pca():
    x = np.random.default_rng(1).standard_normal((30, 4))
    found = paper_map.kernel_pca(x @ x.T, 2)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0))
    np.testing.assert_allclose(np.abs(found), np.abs(u[:, :2] * s[:2]), atol=1e-10)


def test_similarities_have_the_entropy_of_the_neighbours_asked_for():
    points = np.random.default_rng(2).standard_normal((60, 5))
    pairs = paper_map.similarities(points, neighbours=8.0)
    assert pairs.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(pairs, pairs.T)
    assert np.all(np.diag(pairs) == 0)


def test_every_part_has_its_own_colour_and_shape():
    rows = atlas._part_rows()
    assert len({(row["color"], row["shape"]) for row in rows}) == len(catalogue.parts())


def test_paths_name_real_labs():
    made = atlas.suggested_paths()
    assert len(made) == 3
    for path in made:
        names = [stop.lab.name for stop in path.stops]
        assert len(set(names)) == len(names)
        assert 0 <= path.ready <= len(path.stops)
        for stop in path.stops:
            assert stop.lab in catalogue.labs()


def test_a_path_to_nowhere_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "paths.toml").write_text(
        '[[path]]\ntitle = "T"\nabout = "A"\n'
        '[[path.stop]]\nlab = "ridge_filter"\nwhen = "now"\nwhy = "W"\n'
    )
    before = catalogue.labs()
    monkeypatch.setattr(atlas.paths, "DATA", tmp_path)
    monkeypatch.setattr(catalogue, "labs", lambda: before)
    with pytest.raises(ValueError, match="path 'T': name must be .* got 'ridge_filter'"):
        atlas.suggested_paths()


def test_progress_counts_what_was_passed_and_guessed(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path))

    def start():
        return next(row for row in atlas.lab_progress() if row.lab == "start_here")

    assert (start().passed, start().exercises) == (0, 1)
    assert (start().guessed, start().predictions) == (0, 1)
    question = next(iter(atlas._questions(paths.NOTEBOOKS / "00_start_here.ipynb")))
    attempt = progress.start_attempt("start_here/ridge_weights", "source")
    progress.finish_attempt(attempt, True, "well done")
    progress.store_guess(question, "1 ppm")
    assert (start().passed, start().guessed) == (1, 1)


def test_refresh_sends_the_new_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path))
    shown = atlas.Progress()
    before = shown.widget().content
    attempt = progress.start_attempt("start_here/ridge_weights", "source")
    progress.finish_attempt(attempt, True, "well done")
    assert shown.widget().content == before
    shown._on_message(None, {"kind": "refresh"}, [])
    assert shown.widget().content["rows"][0]["passed"] == 1
    text = shown.text()
    assert str(tmp_path) not in text
    assert not re.search(r"\d", text)


@pytest.mark.parametrize("display", [atlas.Atlas, atlas.Contents, atlas.Paths, atlas.Progress])
def test_text_forms_do_not_tell_what_works_today(display):
    text = display().text()
    assert text == display().text()
    assert not re.search(r"\b(works|planned|in progress)\b", text)


def test_the_saved_picture_holds_every_paper(monkeypatch):
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    figure = atlas.Atlas()._repr_mimebundle_()["application/vnd.plotly.v1+json"]
    assert sum(len(trace["x"]) for trace in figure["data"]) == len(catalogue.papers())
    assert len(figure["data"]) == len(catalogue.parts())
