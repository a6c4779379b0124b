"""Commands besides the methods': every public function, plots, reports, options in a file, and what can go wrong."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdeepclust as sdc
from scdeepclust import cli, commands, config, described, files, options, report

DEFAULT = inspect.signature(sdc.tl.deepclust).parameters["method"].default
QUICK = ["--n-clusters", "3", "--pretrain-steps", "6", "--cluster-steps", "6", "--no-progress"]
FRONTS = [(area, name) for area in ("pp", "tl") for name in described.public(area) if name not in cli.BY_HAND]
PLOTS = described.public("pl")
ALL = [(area, name) for area in ("pp", "tl", "pl") for name in described.public(area)]
DRAWN = {"genes": ["--genes", "gene0", "gene1"], "pairs": ["--pairs", "gene0", "gene1", "gene2", "gene0"]}


def word(name: str) -> str:
    return name.replace("_", "-")


def present() -> list[str]:
    """Names of all files here, hidden ones too."""
    return sorted(path.name for path in Path().iterdir())


def line(err: str) -> str:
    """The only line of an error."""
    assert err.startswith("scdeepclust: error: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture(scope="session")
def results() -> ad.AnnData:
    """Cells with everything that can be drawn; not to be changed."""
    cells = sdc.datasets.simulate_lineage(n_obs=120, n_vars=40, n_branches=2)
    sdc.tl.n_clusters(cells)
    sdc.tl.deepclust(cells, n_clusters=4, pretrain_steps=10, cluster_steps=10, progress=False)
    sdc.pp.denoise(cells, progress=False)
    sdc.tl.lineage(cells, root={"cell_type": "S0"}, fates=None)
    return cells


@pytest.fixture
def folder(tmp_path, monkeypatch, results) -> Path:
    """An empty folder with in.h5ad in it, to work in."""
    results.write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def noted(monkeypatch):
    """Public functions are not run, but note how they were called."""
    calls = []

    def front(area, name):
        stub = described.front(area, name)

        def note(adata, **given):
            calls.append((name, given))
            if area != "pl":
                adata.uns[given["key_added"] or "k"] = {"done": True}
            else:
                Path(given["save"]).write_text("figure")

        note.__doc__, note.__signature__ = stub.__doc__, inspect.signature(stub)
        return note

    monkeypatch.setattr(cli, "front", front)
    return calls


# Functions as their files describe them


@pytest.mark.parametrize(("area", "name"), ALL, ids=lambda x: x)
def test_what_is_read_off_a_file_is_what_an_import_gives(area, name):
    function, stub = getattr(getattr(sdc, area), name), described.front(area, name)
    assert inspect.getdoc(stub) == inspect.getdoc(function)
    mine, true = inspect.signature(stub).parameters, inspect.signature(function).parameters
    known = [p for p in true.values() if p.kind is not p.VAR_KEYWORD]
    assert [(p.name, p.kind, p.default) for p in mine.values()] == [(p.name, p.kind, p.default) for p in known]


def test_a_name_that_no_file_defines():
    with pytest.raises(LookupError, match="'nothing'"):
        described.front("tl", "nothing")


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("int | None", int | None),
        ("str | os.PathLike | None", str | None),
        ("int | Sequence[int] | None", tuple[int, ...] | None),
        ("str | Sequence[bool] | np.ndarray | None", str | None),
        ("Sequence[tuple[str, str]] | tuple[str, str]", tuple[tuple[str, str], ...]),
        ("str | int | dict[str, str] | None", options.Named | None),
        ("Literal['a', 'b'] | None", __import__("typing").Optional[__import__("typing").Literal["a", "b"]]),
        ("np.ndarray", None),
    ],
)
def test_types_that_a_command_line_can_give(annotation, expected):
    assert options._type(ast.parse(annotation, mode="eval").body) == expected


# Every public function is a command


@pytest.mark.parametrize(("area", "name"), FRONTS, ids=lambda x: x)
def test_a_function_is_called_with_its_own_defaults(folder, noted, area, name, capsys):
    assert cli.main([word(name), "in.h5ad", "out.h5ad", "--quiet"]) == 0
    (called, given), true = noted[0], inspect.signature(getattr(getattr(sdc, area), name)).parameters
    assert called == name
    assert given.pop("progress", False) is False  # quiet
    assert given == {n: p.default for n, p in true.items() if n in given}
    assert {n for n in true if n not in options.IN_PYTHON} == {*given, *({"progress"} & set(true))}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["lineage", "--root", "gene=Cd34"], {"root": {"gene": "Cd34"}}),
        (["lineage", "--root", "gene=Hlf,Procr"], {"root": {"gene": "Hlf,Procr"}}),
        (["lineage", "--root", "3"], {"root": "3"}),
        (["lineage", "--fates", "none", "--n-neighbors", "7"], {"fates": None, "n_neighbors": 7}),
        (["neighbors", "--n-pcs", "5", "10", "--weights", "uniform"], {"n_pcs": (5, 10), "weights": ("uniform",)}),
        (["neighbors", "--n-pcs", "none"], {"n_pcs": None}),
        (["denoise", "--genes", "A", "B", "--no-self-loops"], {"genes": ("A", "B"), "self_loops": False}),
        (["denoise", "--self-loops", "--dense"], {"self_loops": True, "dense": True}),
        (["n-clusters", "--partitions", "a", "b"], {"partitions": ("a", "b")}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_as_the_function_takes_them(folder, noted, words, given):
    assert cli.main([words[0], "in.h5ad", "out.h5ad", *words[1:], "--quiet"]) == 0
    assert {name: noted[0][1][name] for name in given} == given


def test_a_lineage_by_commands(folder, results, capsys):
    before = Path("in.h5ad").read_bytes()
    words = ["--root", "cell_type=S0", "--fates", "none", "--key-added", "l", "--report", "r.html", "--json", "--quiet"]
    assert cli.main(["lineage", "in.h5ad", "out.h5ad", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert (found["output"], found["command"], found["key_added"]) == ("out.h5ad", "lineage", "l")
    assert found["record"]["root"]["found_by"] == "cell_type S0"
    np.testing.assert_array_equal(
        ad.read_h5ad("out.h5ad").obs["l_pseudotime"], results.obs["lineage_pseudotime"].to_numpy()
    )
    assert Path("in.h5ad").read_bytes() == before
    assert present() == ["in.h5ad", "out.h5ad", "r.html"]
    assert "--root cell_type=S0" in Path("r.html").read_text()


def test_ctrl_c_while_a_report_is_written(folder, results, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("scdeepclust.report.write", stopped)
    words = ["--root", "cell_type=S0", "--fates", "none", "--report", "r.html", "--quiet"]
    assert cli.main(["lineage", "in.h5ad", "out.h5ad", *words]) == 130
    assert capsys.readouterr().err == "scdeepclust: interrupted; out.h5ad is written, the report is not\n"
    assert present() == ["in.h5ad", "out.h5ad"]


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ({"hidden": (64, 8), "batch_key": None}, {"hidden": [64, 8], "batch_key": None}),
        ({"loss": np.float32(0.5), "n": np.int64(3), "on": np.array([True])[0]}, {"loss": 0.5, "n": 3, "on": True}),
        ({"gain": float("inf"), "error": np.float64("nan")}, {"gain": None, "error": None}),
        ({"history": pd.DataFrame({"a": [1]}), "curve": np.arange(3), "kept": "x"}, {"kept": "x"}),
    ],
)
def test_a_record_as_json_holds_it(value, held):
    assert json.loads(json.dumps(commands._plain({"a": value}), allow_nan=False)) == {"a": held}


def test_enrichment_names_its_own_key(folder, capsys):
    assert cli.main(["enrichment", "in.h5ad", "out.h5ad", "--annotations", "cell_type", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "added 'deepclust_enrichment' to out.h5ad" in err
    assert json.loads(out)["key_added"] == "deepclust_enrichment"
    assert "deepclust_enrichment" in ad.read_h5ad("out.h5ad").uns


def test_in_place(folder, noted, capsys):
    assert cli.main(["neighbors", "in.h5ad", "--in-place", "--key-added", "new"]) == 0
    assert "new" in ad.read_h5ad("in.h5ad").uns
    assert present() == ["in.h5ad"]
    assert "added 'new' to in.h5ad" in capsys.readouterr().err


# Plots


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_has_its_kind(folder, noted, name):
    needed = [p.name for p in inspect.signature(getattr(sdc.pl, name)).parameters.values() if p.default is p.empty][1:]
    words = [each for argument in needed for each in DRAWN.get(argument, [options.typed(argument), "x"])]
    assert cli.main(["plot", word(name), "in.h5ad", "f.png", *words, "--quiet"]) == 0
    assert noted[0][0] == name
    assert noted[0][1]["show"] is False
    assert present() == ["f.png", "in.h5ad"]


@pytest.mark.parametrize(
    ("kind", "ending", "begins"),
    [("umap", "png", b"\x89PNG"), ("lineage", "pdf", b"%PDF"), ("history", "svg", b"<?xml")],
)
def test_figures(folder, kind, ending, begins, capsys):
    assert cli.main(["plot", kind, "in.h5ad", f"f.{ending}"]) == 0
    assert Path(f"f.{ending}").read_bytes().startswith(begins)
    assert present() == [f"f.{ending}", "in.h5ad"]
    assert capsys.readouterr() == ("", f"wrote the figure f.{ending}\n")


def test_genes_two_by_two(folder, noted):
    assert cli.main(["plot", "gene-pairs", "in.h5ad", "f.png", *DRAWN["pairs"]]) == 0
    assert noted[0][1]["pairs"] == (("gene0", "gene1"), ("gene2", "gene0"))


# Reports


class Page(HTMLParser):
    """What a page holds; tags must be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.links, self.ids, self.images, self.text = [], [], [], 0, ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[name] for name in ("src", "href", "srcset", "action") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "img":
            self.images += 1
            assert given["alt"]
        if tag not in {"img", "meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_report_says_everything_by_itself(results, tmp_path):
    results = results.copy()
    results.uns["note"] = {"text": "of no use"}
    report.write(results, tmp_path / "r.html", command=["scdeepclust", "x y"], cells="<b>&amp;", seconds=1.25)
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "@import" not in text
    assert "url(" not in text
    assert len(page.ids) == len(set(page.ids))
    for said in ("scdeepclust 'x y'", "<b>&amp;", "120 × 40", f"scdeepclust {sdc.__version__}", "1.2"):
        assert said in page.text
    for key in ("n_clusters", "deepclust", "n2s", "lineage"):
        assert f">{key}</h2>" in text
    assert "of no use" not in page.text
    # n_clusters, history and joins and umap of deepclust, denoise, lineage
    assert page.images >= 5
    for name, n in results.obs["deepclust"].value_counts().items():
        assert re.search(rf"<td>{name}</td><td class=\"number\">{n}</td>", text)


def test_a_report_shows_batches_beside_clusters(few, tmp_path, monkeypatch):
    cells = sdc.datasets.simulate_types(n_obs=80, n_vars=30, n_types=2)
    cells.obs["donor"] = ["A", "B"] * 40
    sdc.tl.deepclust(cells, few("idec"), n_clusters=2, batch_key="donor", progress=False)
    titles, png = [], report._png
    monkeypatch.setattr(
        report, "_png", lambda axes: titles.append([ax.get_title("left") for ax in np.ravel(axes)]) or png(axes)
    )
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    assert titles[0] == ["deepclust", "donor"]


def test_a_report_names_the_genes_that_tell_clusters_apart(tmp_path):
    cells = sdc.datasets.simulate_types(n_obs=80, n_vars=12, n_types=2)
    x = cells.X.toarray()
    first = (cells.obs["cell_type"] == cells.obs["cell_type"].cat.categories[0]).to_numpy()
    x[first, 3] += 3000
    x[~first, 7] += 3000
    cells.X = x
    cells.obs["deepclust"] = cells.obs["cell_type"]
    cells.uns["deepclust"] = {"seconds": 1.0}
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    rows = re.findall(r"<tr><td>(\w+)</td>.*?<td>([^<]*gene[^<]*)</td></tr>", (tmp_path / "r.html").read_text(), re.S)
    assert {name: genes.split(", ")[0] for name, genes in rows} == dict(
        zip(cells.obs["cell_type"].cat.categories, ["gene3", "gene7"], strict=True)
    )


def test_markers_of_a_sample_in_which_a_cluster_has_one_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_CELLS", 60)
    cells = sdc.datasets.simulate_types(n_obs=300, n_vars=12, n_types=2)
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    sample = np.random.default_rng(0).choice(300, 60, replace=False)
    labels[sample[0]] = labels[np.setdiff1d(np.arange(300), sample)[0]] = "rare"
    cells.obs["deepclust"] = pd.Categorical(labels)
    cells.uns["deepclust"] = {"seconds": 1.0}
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    assert len(re.findall(r"gene\d+(?:, gene\d+)+", (tmp_path / "r.html").read_text())) == 2


@pytest.mark.parametrize("labels", [np.arange(60) % 3, np.arange(60) % 2 == 0], ids=["numbers", "booleans"])
def test_a_report_of_clusters_that_are_no_words(tmp_path, labels):
    cells = sdc.datasets.simulate_types(n_obs=60, n_vars=12, n_types=2)
    cells.obs["louvain"] = pd.Categorical(labels)
    cells.uns["louvain"] = {"params": {}}
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    assert "gene" in (tmp_path / "r.html").read_text()


def test_a_report_of_cells_whose_values_are_in_a_layer(results, tmp_path):
    cells = results.copy()
    cells.layers["counts"], cells.X = cells.X, None
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    assert "deepclust" in (tmp_path / "r.html").read_text()


def test_a_report_is_valid_html(results, tmp_path):
    html5lib = pytest.importorskip("html5lib", reason="html5lib is not installed")
    report.write(results, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    html5lib.HTMLParser(strict=True).parse((tmp_path / "r.html").read_text())


def test_a_report_of_cells_without_results(tmp_path):
    cells = sdc.datasets.simulate_types(n_obs=30, n_vars=10, n_types=2)
    report.write(cells, tmp_path / "r.html", command=["scdeepclust"], cells="cells")
    assert Page((tmp_path / "r.html").read_text()).images == 0


# Options in a file


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            [DEFAULT],
            ["--n-clusters", "5", "--hidden", "32", "16", "--mask-var", "none", "--drop-empty", "--lr", "1e-05"],
        ),
        (["lineage"], ["--root", "gene=Cd34", "--fates", "none"]),
        (["neighbors"], ["--n-pcs", "5", "10", "--rule", "min"]),
        (["denoise"], ["--no-self-loops", "--key-added", 'a "quoted" \\ name']),
        (["plot", "gene-pairs"], ["--pairs", "a", "b", "c", "d", "--size", "2"]),
    ],
    ids=" ".join,
)
def test_printed_options_are_read_back(tmp_path, monkeypatch, command, words, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--print-config", *words]) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    Path("run.toml").write_text(printed)
    assert cli.main([*command, "--print-config", "--config", "run.toml"]) == 0
    assert capsys.readouterr().out == printed
    assert cli.main([*command, "--print-config"]) == 0
    assert capsys.readouterr().out != printed


def test_what_is_typed_counts_more_than_a_file(folder, noted):
    Path("run.toml").write_text("[lineage]\nn-neighbors = 9\nn_dcs = 5\n[neighbors]\nn-splits = 2\n")
    assert cli.main(["lineage", "in.h5ad", "out.h5ad", "--config=run.toml", "--n-neighbors", "11"]) == 0
    assert (noted[0][1]["n_neighbors"], noted[0][1]["n_dcs"]) == (11, 5)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("[lineage]\nn-neighbor = 3", 2, "n-neighbor"),
        ("[linage]\nn-neighbors = 3", 2, "Did you mean 'lineage'?"),
        ("[lineage]\nn-neighbors = 3.5", 2, "'3.5' is not an integer"),
        ("[lineage]\nn-neighbors = ", 2, "'run.toml' is no TOML"),
        (
            "n-neighbors = 3",
            2,
            "'run.toml' has n-neighbors outside of a table; options of this command stand under [lineage]",
        ),
        ("n_clusters = 3", 2, "outside of a table"),
        (None, 1, "There is no file 'run.toml' for --config."),
    ],
)
def test_mistakes_in_a_file(folder, text, code, message, capsys):
    if text is not None:
        Path("run.toml").write_text(text)
    assert cli.main(["lineage", "in.h5ad", "out.h5ad", "--config", "run.toml"]) == code
    assert message in line(capsys.readouterr().err)


def test_a_file_without_a_table_for_the_command_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("[dec]\nn-clusters = 7\n")
    assert cli.main(["idec", "--print-config", "--config", "run.toml"]) == 0
    out, err = capsys.readouterr()
    assert err == "scdeepclust: warning: 'run.toml' has no table [idec], so nothing in it is used.\n"
    assert cli.main(["dec", "--print-config", "--config", "run.toml"]) == 0
    assert capsys.readouterr().err == ""
    assert "n-clusters" not in out


def test_what_has_to_be_run_first_is_a_command(folder, capsys):
    assert cli.main(["plot", "lineage", "in.h5ad", "l.png", "--key", "other"]) == 1
    assert "Run `scdeepclust lineage` first" in line(capsys.readouterr().err)


def test_config_without_a_value():
    assert config.path_in(["idec", "--config"]) is None


# Completion, demo


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_of_its_shell(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in (*sdc.methods.registry(), "n-clusters", "gene-pairs", "--n-latent"))
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, check=False).returncode == 0


def test_demo_on_cells_of_ones_own(folder, monkeypatch, capsys):
    train = sdc.tl.deepclust
    few = {"pretrain_steps": 6, "cluster_steps": 6, "progress": False}
    monkeypatch.setattr(sdc.tl, "deepclust", lambda adata, **given: train(adata, **few, **given), raising=False)
    words = ["demo", "d", "--data", "in.h5ad", "--labels", "cell_type", "--n-clusters", "3"]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "agreement with obs['cell_type']" in err
    names = ["in.h5ad", "in.html", "in_history.png", "in_umap.png"]
    assert sorted(path.name for path in Path("d").iterdir()) == names
    assert " ".join(["scdeepclust", *words]) in Path("d/in.html").read_text()
    assert cli.main([*words[:3], "in.h5ad", "--labels", "nothing"]) == 1
    assert "--labels='nothing' is not in adata.obs" in line(capsys.readouterr().err)


# What can go wrong


ONE_EACH = [
    [DEFAULT, "in.h5ad", "out.h5ad"],
    ["assign", "model", "in.h5ad", "out.h5ad"],
    *([word(name), "in.h5ad", "out.h5ad"] for _, name in FRONTS),
    *(["plot", word(name), "in.h5ad", "out.png", *DRAWN["genes"]] for name in PLOTS if name == "trends"),
    ["plot", "umap", "in.h5ad", "out.png"],
]
of_each = pytest.mark.parametrize("words", ONE_EACH, ids=lambda words: " ".join(words[:2]))


def replaced(words, old, new):
    return [new if each == old else each for each in words]


@of_each
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.h5ad", "There is no file or folder 'none.h5ad'."),
        ("text.h5ad", "'text.h5ad' cannot be read as an h5ad file"),
        ("half.h5ad", "'half.h5ad' cannot be read as an h5ad file"),
        ("folder", "neither a zarr store nor a matrix folder"),
    ],
)
def test_inputs_that_cannot_be_read(folder, monkeypatch, words, file, message, capsys):
    monkeypatch.setattr(sdc.Model, "load", lambda *_, **__: None)  # the cells are at fault, not the model
    Path("text.h5ad").write_text("no cells here")
    Path("half.h5ad").write_bytes(Path("in.h5ad").read_bytes()[:50_000])
    Path("folder").mkdir()
    Path("model").mkdir()
    before = present()
    assert cli.main(replaced(words, "in.h5ad", file)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in line(err)
    assert present() == before


@of_each
@pytest.mark.parametrize(
    ("path", "code", "message"),
    [("missing/{}", 1, "create it first"), ("locked/{}", 1, "write-protected"), ("in.h5ad", 2, "in.h5ad"), ("out.doc", 2, "must end in")],
)  # fmt: skip
def test_outputs_that_cannot_be_written(folder, monkeypatch, words, path, code, message, capsys):
    Path("locked").mkdir()
    Path("model").mkdir()
    access = os.access
    monkeypatch.setattr(files.os, "access", lambda p, mode: Path(p).name != "locked" and access(p, mode))
    monkeypatch.setattr(files, "read", lambda _: pytest.fail("the input was read"))
    old = next(each for each in words if each.startswith("out."))
    before, content = present(), Path("in.h5ad").read_bytes()
    assert cli.main(replaced(words, old, path.format(old))) == code
    assert message in line(capsys.readouterr().err)
    assert (present(), Path("in.h5ad").read_bytes()) == (before, content)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["lineage", "in.h5ad"], 2, "OUTPUT requires an argument; give either a path or --in-place."),
        (["lineage", "in.h5ad", "out.h5ad", "--in-place"], 2, "give either a path or --in-place."),
        (["lineage", "in.zarr", "--in-place"], 2, "--in-place is for .h5ad files"),
        (["lineage", "in.h5ad", "out.h5ad", "--report", "r.txt"], 2, "must end in .html"),
        (["lineage", "in.h5ad", "out.h5ad", "--report", "missing/r.html"], 1, "create it first"),
        (["lineage", "in.h5ad", "out.h5ad", "--key-added", "a/b"], 2, "--key-added='a/b' must be"),
        (["lineage", "in.h5ad", "out.h5ad", "--key", "nothing"], 1, "--key='nothing' is not in adata.obs"),
        (["lineage", "in.h5ad", "out.h5ad", "--root", "gene=nothing"], 1, "--root=gene=nothing: there is no gene"),
        (["lineage", "in.h5ad", "out.h5ad", "--fates", "palantiri"], 2, "palantir"),
        (["recut", "in.h5ad", "out.h5ad"], 1, "Give either n_clusters"),
        (["denoise", "in.h5ad", "out.h5ad", "--genes", "nothing"], 1, "--genes='nothing'"),
        (["n-clusters", "in.h5ad", "out.h5ad", "--min-signal", "2"], 1, "--min-signal=2.0 must be"),
        (["neighbors", "in.h5ad", "out.h5ad", "--n-splits", "2.5"], 2, "'2.5' is not an integer"),
        (["plot", "pie", "in.h5ad", "f.png"], 2, "pie"),
        (["plot", "gene-pairs", "in.h5ad", "f.png"], 2, "pairs"),
        (["plot", "gene-pairs", "in.h5ad", "f.png", "--pairs", "gene0", "gene1", "gene2"], 2, "pairs"),
        (["plot", "umap", "in.h5ad", "f.png", "--color", "nothing"], 1, "--color='nothing' is no column of adata.obs"),
        (["plot", "umap", "in.h5ad", "f.png", "--key", "nothing"], 1, "--key='nothing' is not in adata.obs"),
        (["plot", "history", "in.h5ad", "f.png", "--key", "lineage"], 1, "holds no history of a training"),
        (["completion", "dos"], 2, "dos"),
        (["linage", "in.h5ad", "out.h5ad"], 2, 'Did you mean "lineage"?'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_take_one_line(folder, results, words, code, message, capsys):
    Path("in.zarr").mkdir()
    before = present()
    assert cli.main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message.replace('"', "") in line(err).replace('"', "")
    assert present() == before


FINDS_NUMBER = [
    (name, ["--cluster", "hdbscan"])
    for name, kind in sdc.methods.registry().items()
    if "hdbscan" in str(inspect.signature(kind).parameters.get("cluster"))
]


@pytest.mark.parametrize(
    ("name", "words"), [*FINDS_NUMBER, *((n, ["--cluster", "leiden", "--resolution", "1"]) for n, _ in FINDS_NUMBER)]
)
def test_a_number_for_what_finds_its_own(folder, name, words, capsys):
    assert cli.main([name, "in.h5ad", "out.h5ad", "--n-clusters", "3", *words]) == 2
    assert re.search("--n-clusters=3 and (--cluster='hdbscan'|resolution) both decide", line(capsys.readouterr().err))


def test_a_disk_that_is_full(folder, monkeypatch, capsys):
    def full(self, path):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ad.AnnData, "write_h5ad", full)
    assert cli.main([DEFAULT, "in.h5ad", "out.h5ad", *QUICK, "--quiet"]) == 1
    message = line(capsys.readouterr().err)
    assert "out.h5ad' could not be written: No space left on device. Nothing is left of it" in message
    assert present() == ["in.h5ad"]


SPACE = 100_000  # bytes


def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (SPACE, SPACE))


@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr", "out.png"])
def test_a_file_that_may_not_grow(folder, output):
    """As under a quota: the system itself refuses to write on."""
    cells = ad.AnnData(np.random.default_rng(0).random((200, 300), dtype=np.float32))
    cells.write_h5ad("big.h5ad")
    script = (
        "import sys, numpy as np, anndata as ad; from pathlib import Path; from scdeepclust import files\n"
        "cells = ad.read_h5ad('big.h5ad')\n"
        "try:\n"
        f"    if {output!r}.endswith('png'):\n"
        f"        with files.whole({output!r}) as new: new.write_bytes(bytes({2 * SPACE}))\n"
        f"    else: files.write(cells, {output!r})\n"
        "except OSError as error: print(error); sys.exit(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], preexec_fn=limited, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "could not be written: File too large" in done.stdout
    assert "Traceback" not in done.stderr  # nor does HDF5 complain
    assert present() == ["big.h5ad", "in.h5ad"]


def test_two_runs_on_the_same_output(folder, results):
    """Each writes beside it and renames: the last to end wins, and at no time there is half a file."""
    a, b = results.copy(), results.copy()
    a.uns["by"], b.uns["by"] = "a", "b"
    with files.whole("out.h5ad") as first:
        a.write_h5ad(first)
        files.write(b, "out.h5ad")
        assert ad.read_h5ad("out.h5ad").uns["by"] == "b"
    assert ad.read_h5ad("out.h5ad").uns["by"] == "a"
    assert present() == ["in.h5ad", "out.h5ad"]


def test_a_run_that_is_killed_goes_on(folder, results):
    """By SIGKILL: no output, the input as it was, and the same command ends with the labels of an unbroken run."""
    words = ["--n-clusters", "4", "--pretrain-steps", "400", "--cluster-steps", "50", "--tolerance", "0"]
    words += ["--patience", "400", "--threads", "1", "--no-progress"]
    before = Path("in.h5ad").read_bytes()
    run = [sys.executable, "-m", "scdeepclust", DEFAULT, "in.h5ad", "out.h5ad", *words, "--checkpoint", "run.ckpt"]
    killed = subprocess.Popen(run, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if Path("run.ckpt").exists():
            break
        time.sleep(0.05)
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not Path("out.h5ad").exists()
    assert Path("in.h5ad").read_bytes() == before
    assert cli.main([*run[3:], "--quiet"]) == 0
    assert cli.main([DEFAULT, "in.h5ad", "whole.h5ad", *words, "--quiet"]) == 0
    resumed, whole = ad.read_h5ad("out.h5ad"), ad.read_h5ad("whole.h5ad")
    assert list(resumed.obs["deepclust"]) == list(whole.obs["deepclust"])
    np.testing.assert_array_equal(resumed.obsm["X_deepclust"], whole.obsm["X_deepclust"])


def test_a_disturbed_run_names_its_checkpoint(folder, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "trained", stop)
    assert cli.main([DEFAULT, "in.h5ad", "out.h5ad", "--checkpoint", "run.ckpt"]) == 130
    said = "scdeepclust: interrupted; the output was not written; the same command goes on from 'run.ckpt'\n"
    assert capsys.readouterr() == ("", said)


def write_10x(folder, names, kinds=None):
    import gzip

    from scipy.io import mmwrite

    folder.mkdir(parents=True)
    counts = sparse.coo_matrix(np.random.default_rng(0).poisson(1.0, (len(names), 9)))
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, counts)
    for name, lines in {
        "features.tsv.gz": [
            f"ENSG{i}\t{gene}\t{(kinds or {}).get(gene, 'Gene Expression')}" for i, gene in enumerate(names)
        ],
        "barcodes.tsv.gz": [f"cell{i}-1" for i in range(9)],
    }.items():
        with gzip.open(folder / name, "wt") as file:
            file.write("\n".join(lines) + "\n")


def test_names_that_repeat_are_numbered_and_said(tmp_path, caplog):
    write_10x(tmp_path / "x", ["A", "B", "A", "C"])
    adata = files.read(tmp_path / "x")
    assert list(adata.var_names) == ["A", "B", "A-1", "C"]
    assert "1 names of genes repeat ('A')" in caplog.text


def test_what_is_no_gene_is_left_out_and_said(tmp_path, caplog):
    write_10x(tmp_path / "x", ["A", "CD3", "B", "g1"], {"CD3": "Antibody Capture", "g1": "CRISPR Guide Capture"})
    with caplog.at_level("INFO"):
        adata = files.read(tmp_path / "x")
    assert list(adata.var_names) == ["A", "B"]
    assert "left out what is no gene: 1 of Antibody Capture, 1 of CRISPR Guide Capture" in caplog.text


@pytest.mark.parametrize("name", ["cells.csv", "cells.TSV", "cells.txt.gz"])
def test_a_table_is_refused_with_the_formats_that_are_read(tmp_path, name):
    (tmp_path / name).write_text("gene,cell0\nA,1\n")
    with pytest.raises(ValueError, match=rf"{name}' is a table; read are h5ad files.*scanpy.read_text"):
        files.read(tmp_path / name)


def test_folders_that_are_nearly_right_are_helped(tmp_path):
    write_10x(tmp_path / "outs" / "filtered_feature_bc_matrix", ["A", "B"])
    (tmp_path / "outs" / "raw_feature_bc_matrix").mkdir()
    (tmp_path / "outs" / "raw_feature_bc_matrix" / "matrix.mtx.gz").touch()
    with pytest.raises(ValueError, match=r"neither a zarr store.*Did you mean '.*filtered_feature_bc_matrix'\?"):
        files.read(tmp_path / "outs")
    with pytest.raises(ValueError, match=r"matrix of a folder that 10x wrote: give the folder, '.*filtered_feature"):
        files.read(tmp_path / "outs" / "filtered_feature_bc_matrix" / "matrix.mtx.gz")
    (tmp_path / "geo").mkdir()
    (tmp_path / "geo" / "GSM1_matrix.mtx.gz").touch()
    with pytest.raises(ValueError, match=r"Take the prefix off its files: 'GSM1_matrix.mtx.gz'"):
        files.read(tmp_path / "geo")


@pytest.mark.parametrize(
    ("where", "message"),
    [("missing/d", "missing'; create it first."), ("in.h5ad", "'in.h5ad' exists and is not a folder; remove it")],
)
def test_a_folder_that_a_demo_cannot_make(folder, monkeypatch, where, message, capsys):
    monkeypatch.setattr(files, "read", lambda _: pytest.fail("the cells were read"))
    assert cli.main(["demo", where, "--data", "in.h5ad"]) == 1
    assert message in line(capsys.readouterr().err)
    assert present() == ["in.h5ad"]


@pytest.mark.parametrize("module", ["pl.umap", "report.write"])
def test_a_demo_loses_no_cells_if_the_rest_fails(folder, monkeypatch, module, capsys):
    def fail(*_, **__):
        raise LookupError  # of whatever kind

    train, few = sdc.tl.deepclust, {"pretrain_steps": 6, "cluster_steps": 6, "progress": False}
    monkeypatch.setattr(sdc.tl, "deepclust", lambda adata, **given: train(adata, **few, **given), raising=False)
    monkeypatch.setattr(f"scdeepclust.{module}", fail, raising=False)
    assert cli.main(["demo", "d", "--data", "in.h5ad", "--n-clusters", "3", "--quiet"]) == 1
    assert "LookupError" in line(capsys.readouterr().err)
    assert "deepclust_confidence" in ad.read_h5ad("d/in.h5ad").obs
