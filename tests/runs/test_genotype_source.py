"""A genotype by any name: files, run directories, names; what is missing is said so."""

import json
import logging
import os
import pathlib
import threading

import pytest

import egnas_jax as eg
from egnas_jax.cli.main import main
from egnas_jax.runs.genotype_source import caption_of_source, read_genotype
from egnas_jax.runs.retrain_config import with_genotype

FIRST, LAST = eg.zoo["PDARTS"].genotype, eg.zoo["DARTS_V2"].genotype

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current directory, with a finished run, an unfinished one and a table."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a", "unfinished", "table/seed0", "table/seed1"):
        pathlib.Path(name).mkdir(parents=True)
    for name in ("runs/a", "table/seed0", "table/seed1"):
        pathlib.Path(name, "genotype.json").write_text(LAST.to_json())
    pathlib.Path("unfinished/metrics.jsonl").write_text("{}\n")
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        LAST,
        "DARTS_V2",
        LAST.format(),
        LAST.to_json(),
        "runs/a",
        "runs/a/genotype.json",
        pathlib.Path("runs/a"),
        pathlib.Path("runs/a/genotype.json"),
    ],
)
def test_every_name_of_a_genotype_is_read(source):
    assert read_genotype(source) == LAST
    assert with_genotype(eg.retrain_config(), source).genotype == LAST.format()


@pytest.mark.parametrize(
    "text",
    [
        "runs/a: {}",
        "12:00 runs/a {} saved to runs/a/genotype.json",
        "{}, 93.2",
        "{}. Saved.",
        "best={}",
        "train/top1 (93.2) of (3)/(4) {}",
        "a(1)/b {} (2)",
        "[1/2]/[3] {}.",
        "lr 1/2 | {} | 93.2%",
        "<text>{}</text>",
    ],
)
@pytest.mark.parametrize("form", [LAST.format(), LAST.to_json(), CELL])
def test_a_line_that_mentions_a_path_is_read_as_a_text(text, form):
    assert read_genotype(text.format(form)) == read_genotype(form)


def test_the_colours_of_a_terminal_are_left_out(folder):
    (folder / "log").write_text(f"\x1b[36m{LAST.format()}\x1b[0m\n")
    assert read_genotype(folder / "log") == LAST


@pytest.mark.parametrize("name", ["Genotype(2).json", f"{CELL}.json", "Genotype (a)"])
def test_a_file_named_like_a_genotype_is_read(name):
    pathlib.Path("runs", name).write_text(LAST.to_json())
    assert read_genotype(f"runs/{name}") == LAST


@pytest.mark.parametrize(
    "content",
    [
        LAST.format().encode(),
        ("\ufeff" + LAST.format() + "\r\n").encode("utf-16-le"),
        ("\ufeff" + LAST.format() + "\r\n").encode("utf-16-be"),
        # were the mark left in, this would be no module, and the comment would count
        f"\ufeffA = {LAST.format()}\n# B = {FIRST.format()}\n".encode(),
        ("Temps 3 µs é\n" + LAST.format()).encode("latin-1"),
        json.dumps({"genotype": LAST.format(), "seconds": 3}).encode(),
        f"Genotype = namedtuple('Genotype', 'normal')\nA = {LAST.format()}\n".encode(),
    ],
)
def test_files_of_any_kind_and_encoding_are_read(content):
    pathlib.Path("best.txt").write_bytes(content)
    assert read_genotype("best.txt") == LAST


def test_a_home_directory_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert read_genotype("~/runs/a") == LAST


def test_a_pipe_is_read(folder):
    os.mkfifo("pipe")
    writer = threading.Thread(
        target=pathlib.Path("pipe").write_text, args=[LAST.format()]
    )
    writer.start()
    assert read_genotype("pipe") == LAST
    writer.join()


def test_of_several_genotypes_the_last_counts_and_a_note_says_so(caplog):
    pathlib.Path("log.txt").write_text(f"{FIRST.format()}\n{LAST.format()}\n")
    notes = []
    assert read_genotype("log.txt", log=notes.append) == LAST
    assert notes == [f"log.txt holds 2 genotypes. The last one counts: {LAST.format()}"]
    with caplog.at_level(logging.WARNING, "egnas_jax"):
        eg.read_genotype(f"{FIRST.format()} {LAST.format()}")
    assert "The text holds 2 genotypes" in caplog.text


def test_a_text_that_may_have_been_cut_off_is_noted():
    notes = []
    cut = CELL[: CELL.index("none~1|skip")]  # behind a bar
    genotype = read_genotype(cut, log=notes.append)
    (note,) = notes
    assert genotype.lacking_edges == ((1, 3), (2, 3))
    assert "lacks the edges (1, 3), (2, 3)" in note and "cut off" in note
    assert read_genotype(CELL, log=notes.append).lacking_edges == ()
    pathlib.Path("runs/a/genotype.json").write_text(genotype.to_json())
    assert read_genotype("runs/a", log=notes.append) == genotype
    assert len(notes) == 1  # a run wrote its whole cell


@pytest.mark.parametrize(
    "source, message",
    [
        ("runs/b", r"'runs/b' does not exist: .*runs is there, but holds no 'b'"),
        ("runs/a/genotype.jsn", r"does not exist.*Did you mean runs/a/genotype.json\?"),
        ("rums/a", r"'rums/a' does not exist: .* holds no 'rums'"),
        ("best.txt", r"'best.txt' does not exist"),
        ("~nobody-here/a", r"does not exist"),
        (pathlib.Path("runs/a/x.json"), r"does not exist"),
        ("runs/a/genotype.json/x", r"does not exist"),
        ("unfinshed", r"no file or directory here.*Did you mean unfinished\?"),
        ("darts_v2", r"no published genotype.*Did you mean DARTS_V2"),
        ("runs/run (1)/genotype.json", r"does not exist: .*holds no 'run \(1\)'"),
        ("best (1).txt", r"does not exist"),
        ("a/" * 5000, r"does not exist"),
        (
            "runs/Genotype(2).json",
            r"'runs/Genotype\(2\).json' does not exist: .*runs is",
        ),
        ("Genotype (1).json", r"does not exist"),
        ("Genotype(best)/genotype.json", r"does not exist"),
        ("genotype(1)", r"no file or directory here"),
        ("runs/{seed}/genotype.json", r"does not exist"),
        (f"runs/{CELL}", r"does not exist: .*runs is there, but holds no '\|"),
        (f"runs/{CELL}/genotype.json", r"does not exist"),
        (f"{CELL}/genotype.json", r"does not exist"),
        (f"{CELL}.json", r"does not exist"),
        (f"cell {CELL} (2).json", r"does not exist"),
        (f"runs/{LAST.format()}.txt", r"does not exist"),
        (f"{LAST.format()}.txt", r"does not exist"),
        (f"~/{LAST.to_json()}", r"does not exist"),
        (f"{LAST.format()}-seed3.log", r"does not exist"),
        ("normal=[('skip_connect', 0)]", r"Not a genotype"),
        ("x" * 5000, r"no file or directory here"),
        ("", r"The genotype is empty"),
        ("Genotyp(normal=[])", r"Not a genotype"),
        ("unfinished", r"holds no genotype.json.*last epoch.*unfinished/metrics.jsonl"),
        ("table", r"2 runs that do.*table/seed0, table/seed1"),
        ("empty", r"empty holds no genotype\. A genotype is written as"),
        ("binary", r"binary is no text file"),
        ("broken", r"^broken: .*Unknown primitive 'skip'"),
        (3, r"'3' is no genotype"),
        (None, r"'None' is no genotype"),
    ],
)
def test_what_cannot_be_read_is_named(source, message):
    pathlib.Path("empty").write_text("\n")
    pathlib.Path("binary").write_bytes(b"\x93NUMPY\0\0" + LAST.format().encode())
    pathlib.Path("broken").write_text(LAST.format().replace("skip_connect", "skip"))
    with pytest.raises(ValueError, match=message) as caught:
        read_genotype(source)
    assert "AmoebaNet" not in str(caught.value)  # not all 48 names


def test_what_derive_prints_is_read_by_every_command(folder, capsys):
    assert main(["derive", "runs/a"]) == 0
    pathlib.Path("best.txt").write_text(capsys.readouterr().out)
    assert main(["derive", "best.txt"]) == 0
    assert capsys.readouterr().out.strip() == LAST.format()
    assert main(["draw", "best.txt", "--out", "best.svg"]) == 0
    assert read_genotype("best.svg") == LAST
    assert main(["retrain", "--genotype", "best.txt", "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out)["genotype"] == LAST.format()


def test_notes_of_a_command_stand_on_stderr_alone(capsys):
    pathlib.Path("log.txt").write_text(f"{FIRST.format()}\n{LAST.format()}\n")
    assert main(["derive", "log.txt"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{LAST.format()}\n"
    assert "2 genotypes. The last one counts" in captured.err


def test_a_missing_file_is_no_unknown_name(capsys):
    assert main(["retrain", "--genotype", "runs/b/genotype.json"]) == 2
    error = capsys.readouterr().err
    assert "'runs/b/genotype.json' does not exist" in error
    assert "DARTS_V2" not in error


@pytest.mark.parametrize(
    "config, caption",
    [
        (
            {"strategy_name": "nasnet_ppo", "supernet": {"space": "darts8"}},
            "Found by NASNet-A-style (PPO) on the DARTS space",
        ),
        ({"strategy_name": "darts", "supernet": {"space": "darts8"}}, None),
        ({"genotype": "DARTS_V2"}, None),  # a retraining
    ],
)
def test_a_drawing_of_a_run_names_a_method_in_the_style_of_a_system(
    config, caption, tmp_path
):
    assert caption_of_source(tmp_path) is None
    assert caption_of_source("DARTS_V2") is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert caption_of_source(str(tmp_path)) == caption


STAGES = "normal,reduce*1/2,normal@1.5"


@pytest.mark.parametrize("source", ["runs/a", "runs/a/genotype.json"])
@pytest.mark.parametrize("of", ["search", "retraining"])
def test_a_retraining_has_the_stages_of_the_run_of_its_genotype(
    source, of, monkeypatch
):
    space = eg.Space("staged", ("skip_connect", "sep_conv_3x3"), stages=STAGES)
    monkeypatch.setitem(eg.SPACES, "staged", space)
    stored = {"supernet": {"space": "staged"}}
    if of == "retraining":
        stored = {"network": {"stages": STAGES}}
    pathlib.Path("runs/a/config.json").write_text(json.dumps(stored))
    settings = {"network.layers": 7, "network.auxiliary": False}
    config = eg.retrain_config(settings=settings)
    assert with_genotype(config, source).network.stages == STAGES
    other = "normal*3,reduce*4/2"
    own = eg.retrain_config(settings={**settings, "network.stages": other})
    assert with_genotype(own, source).network.stages == other
    assert with_genotype(config, LAST).network.stages is None
    with pytest.raises(ValueError, match="network.layers is 6, .* Nearest: layers=5"):
        with_genotype(eg.retrain_config(settings={"network.layers": 6}), source)
