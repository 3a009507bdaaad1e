"""`egnas evaluate`: the figures that the run recorded, whoever asks and how."""

import json
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.retrain.figure import draw_evaluation
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.runs import finished_network
from egnas_jax.storage import records
from egnas_jax.studies import test_error


def evaluated(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_worth_what_it_recorded(run, capsys):
    found = evaluated(capsys, run)
    line = records.read(run / "metrics.jsonl")[-1]
    summary = json.loads((run / "summary.json").read_text())
    assert found["test_error"] == line["test_error"] == summary["test_error_last"]
    assert found["test_error"] == found["recorded_test_error"]
    assert found["test_loss"] == line["test_loss"]  # to the last bit
    assert (found["digest"], found["epoch"]) == (line["digest"], 1)
    assert found == json.loads((run / "evaluation.json").read_text())
    confusion = np.array(found["confusion"])
    assert confusion.sum() == found["n"] == 359
    assert found["n"] - np.trace(confusion) == found["errors"]
    assert found["errors"] / 359 == found["test_error"]
    assert 0 < found["ece"] < 1 and sum(found["calibration"]["count"]) == 359
    assert ElementTree.parse(run / "evaluation.svg").getroot().tag.endswith("svg")


def test_another_process_and_batch_size_give_the_same_object(run, capsys):
    found = evaluated(capsys, run)
    command = [sys.executable, "-m", "egnas_jax", "evaluate", str(run), "--json"]
    done = subprocess.run(
        [*command, "--set", "eval_batch_size=7"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == found


def test_logits_do_not_depend_on_the_batch_size(run):
    found = finished_network.load(run)
    program = make_logits(found.net, (found.model.mean, found.model.std))
    images = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 1), np.uint8)
    whole = predict(program, found.variables, images, 1000)
    assert whole.shape == (150, 10) and len(np.unique(whole, axis=0)) == 150
    for size in (1, 64, 65, 150):
        np.testing.assert_array_equal(
            predict(program, found.variables, images, size), whole
        )
    # an image's logits are its own
    np.testing.assert_array_equal(
        predict(program, found.variables, images[:70], 64), whole[:70]
    )


def test_seeds_are_judged_each_and_together(seeds, tmp_path, capsys):
    whole = evaluated(capsys, seeds, "--out", tmp_path)
    errors = [row["test_error"] for row in whole["rows"]]
    table = json.loads((seeds / "summary.json").read_text())
    assert errors == [row["test_error_last"] for row in table["rows"]]
    assert whole["test_error"] == table["test_error_last"]
    assert whole["test_error_spread"] == table["test_error_last_spread"]
    assert whole == json.loads((tmp_path / "evaluation.json").read_text())
    own = json.loads((tmp_path / "seed1" / "evaluation.json").read_text())
    assert own == whole["rows"][1]
    assert not (seeds / "seed1" / "evaluation.json").exists()


def test_a_damaged_checkpoint_is_told_and_the_one_before_judged(run, capsys):
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    largest = max(
        (path for path in newest.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert main(["evaluate", str(run), "--json"]) == 0
    out, said = capsys.readouterr()
    assert "is damaged" in said and "The one before is judged" in said
    found, lines = json.loads(out), records.read(run / "metrics.jsonl")
    assert found["epoch"] == 0 and found["test_error"] == lines[0]["test_error"]


def test_another_figure_than_the_recorded_one_is_told(run, capsys):
    lines = records.read(run / "metrics.jsonl")
    lines[-1]["test_error"] += 1 / 359
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert main(["evaluate", str(run)]) == 0
    out, said = capsys.readouterr()
    assert "recorded a test error of" in said and "the network of epoch 2 of 2" in out
    (run / "metrics.jsonl").write_text("")
    assert main(["evaluate", str(run)]) == 0
    assert "of an epoch that was interrupted" in capsys.readouterr().out


def test_other_data_of_the_same_classes_are_judged_as_such(run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 8, 8, 1), np.uint8)
    labels = np.arange(100) % 10
    path = tmp_path / "mine.npz"
    np.savez(
        path,
        images=images,
        labels=labels,
        test_images=images[:30],
        test_labels=labels[:30],
    )
    found = evaluated(capsys, run, "--set", f"data.path={path}")
    assert found["data"]["name"] == "mine" and not found["data"]["own"]
    assert (found["n"], found["recorded_test_error"]) == (30, None)
    # normalised as in training, not by the statistics of these images
    net = finished_network.load(run)
    program = make_logits(net.net, (net.model.mean, net.model.std))
    logits = predict(program, net.variables, images[:30], 64)
    assert found["errors"] == (logits.argmax(axis=1) != labels[:30]).sum()


def _npz(path, classes, side):
    rng = np.random.default_rng(0)
    np.savez(
        path,
        images=rng.integers(0, 256, (60, side, side, 1), np.uint8),
        labels=np.arange(60) % classes,
    )


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("empty", [], "holds no run"),
        ("missing", [], "holds no run"),
        ("search", [], "Train that first: egnas retrain --genotype"),
        ("bare", [], "holds no readable genotype.json"),
        ("altered", [], "is not the genotype that"),
        ("renamed", [], "Class 3 of digits is '3', and in"),
        ("stateless", [], "holds no whole checkpoint"),
        ("run", ["--set", "data.path=three.npz"], "three has 3 classes, and"),
        ("run", ["--set", "data.path=large.npz"], "are 12x12x1, and"),
        ("run", ["--set", "data.digest=" + 64 * "0"], "are not those that data.digest"),
        ("run", ["--set", "epochs=3"], "epochs belongs to the training"),
        ("run", ["--set", "data.pth=x"], "Did you mean data.path"),
        ("run", ["--data-dir", "missing"], "does not exist"),
        ("run", ["--out", ""], "--out is empty"),
        ("run", ["--out", "three.npz"], "three.npz cannot be written: "),
        ("run", ["--set", "data.name=cifar10", "--data-dir", "."], "holds no cifar10"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    run, name, arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _npz("three.npz", classes=3, side=8)
    _npz("large.npz", classes=10, side=12)
    pathlib.Path("empty").mkdir()
    for copy in ("search", "bare", "altered", "renamed", "stateless"):
        shutil.copytree(run, copy)
    pathlib.Path("search/config.json").write_text('{"supernet": {"channels": 8}}')
    pathlib.Path("bare/genotype.json").unlink()
    text = (run / "genotype.json").read_text().replace("max_pool", "avg_pool")
    pathlib.Path("altered/genotype.json").write_text(text)
    model = (run / "model.json").read_text().replace('"3"', '"three"')
    pathlib.Path("renamed/model.json").write_text(model)
    shutil.rmtree("stateless/checkpoints")
    before = sorted(pathlib.Path().rglob("*"))
    assert main(["evaluate", name, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(pathlib.Path().rglob("*")) == before


@pytest.mark.parametrize(
    "field, value",
    [
        ("image_shape", [8, 8, "1"]),
        ("image_shape", [8, 1]),
        ("mean", [0.5, 0.5, 0.5]),
        ("mean", None),
        ("std", [0.0]),
        ("std", ["1"]),
        ("class_names", [0, 1]),
        ("search_seconds", "60"),
    ],
)
@pytest.mark.parametrize("command", [["evaluate"], ["export", "--format", "onnx"]])
def test_an_altered_model_is_refused(command, field, value, run, capsys):
    path = run / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    before = sorted(run.rglob("*"))
    assert main([*command, str(run)]) == 2
    assert "model.json cannot be read" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_a_network_that_diverged_is_told(run):
    found = finished_network.load(run)
    found.variables["params"]["classifier"]["bias"] *= np.nan
    settings = test_error.settings(found.config, [])
    settings, data = test_error.load_data(found, settings, None)
    with pytest.raises(FloatingPointError, match="359 of 359 images are not finite"):
        test_error.judge(found, settings, data)


def test_the_picture_takes_any_number_of_classes_and_comes_out_the_same():
    for classes in (2, 100):
        counts = np.eye(classes, dtype=int)
        bins = dict(
            bins=15,
            count=[0] * 14 + [5],
            confidence=[0.0] * 14 + [0.97],
            accuracy=[0.0] * 14 + [0.8],
        )
        given = dict(
            confusion=counts,
            calibration=bins,
            ece=0.17,
            n=5,
            test_error=0.2,
            test_accuracy_top5=1.0,
            class_names=None,
            data={"name": "mine"},
        )
        picture = draw_evaluation(given)
        assert ElementTree.fromstring(picture) is not None
        assert picture == draw_evaluation(given)
