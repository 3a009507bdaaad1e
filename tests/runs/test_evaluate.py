"""`egnas evaluate` gives the metrics that the run recorded."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import jax
import numpy as np
import pytest
import sklearn.datasets

from egnas_jax.cli.main import main
from egnas_jax.data.config import DataConfig
from egnas_jax.retrain.figure import draw_evaluation
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.runs.finished_network import load_network
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.storage import records
from egnas_jax.studies import test_error


def evaluated(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_an_evaluation_equals_the_record_of_the_run(run, capsys):
    result = evaluated(capsys, run)
    line = records.read(run / "metrics.jsonl")[-1]
    summary = json.loads((run / "summary.json").read_text())
    assert result["test_error"] == line["test_error"] == summary["test_error_last"]
    assert result["test_error"] == result["recorded_test_error"]
    assert result["test_loss"] == line["test_loss"]  # bit for bit
    assert (result["digest"], result["epoch"]) == (line["digest"], 1)
    assert result == json.loads((run / "evaluation.json").read_text())
    confusion = np.array(result["confusion"])
    assert confusion.sum() == result["n"] == 359
    assert result["n"] - np.trace(confusion) == result["errors"]
    assert result["errors"] / 359 == result["test_error"]
    assert 0 < result["ece"] < 1 and sum(result["calibration"]["count"]) == 359
    assert ElementTree.parse(run / "evaluation.svg").getroot().tag.endswith("svg")


@pytest.mark.slow
def test_another_process_gives_the_same_evaluation(run, capsys):
    expected = evaluated(capsys, run)
    command = [sys.executable, "-m", "egnas_jax", "evaluate", str(run), "--json"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    # In a busy process the last digits of the mean confidences have differed once.
    expected = jax.tree.map(
        lambda v: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v, expected
    )
    assert json.loads(process.stdout) == expected


def test_logits_do_not_depend_on_the_number_of_images(run):
    trained = load_network(run)
    program = make_logits(
        trained.network, trained.metadata.scale, trained.metadata.image_shape
    )
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)
    logits = predict(program, trained.variables, images)
    assert logits.shape == (300, 10) and len(np.unique(logits, axis=0)) == 300
    for size in (1, 64, 65, 257):
        some = predict(program, trained.variables, images[:size])
        np.testing.assert_array_equal(some, logits[:size])


def test_seeds_are_evaluated_each_and_together(seeds, tmp_path, capsys):
    both = evaluated(capsys, seeds, "--out", tmp_path)
    errors = [row["test_error"] for row in both["rows"]]
    table = json.loads((seeds / "summary.json").read_text())
    assert errors == [row["test_error_last"] for row in table["rows"]]
    assert both["test_error"] == table["test_error_last"]
    assert both["test_error_spread"] == table["test_error_last_spread"]
    assert both == json.loads((tmp_path / "evaluation.json").read_text())
    second = json.loads((tmp_path / "seed1" / "evaluation.json").read_text())
    assert second == both["rows"][1]
    assert not (seeds / "seed1" / "evaluation.json").exists()


def test_after_a_damaged_checkpoint_the_one_before_is_evaluated(run, capsys):
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    largest = max(
        (path for path in newest.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert main(["evaluate", str(run), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "is damaged" in err and "The one before is used" in err
    result, lines = json.loads(out), records.read(run / "metrics.jsonl")
    assert result["epoch"] == 0 and result["test_error"] == lines[0]["test_error"]


def test_a_difference_from_the_recorded_error_is_reported(run, capsys):
    lines = records.read(run / "metrics.jsonl")
    lines[-1]["test_error"] += 1 / 359
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert main(["evaluate", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "recorded a test error of" in err and "the network of epoch 2 of 2" in out
    (run / "metrics.jsonl").write_text("")
    assert main(["evaluate", str(run)]) == 0
    assert "of an epoch that was interrupted" in capsys.readouterr().out


def test_other_data_of_the_same_classes_have_no_recorded_error(run, tmp_path, capsys):
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
    result = evaluated(capsys, run, "--set", f"data.path={path}")
    assert result["data"]["name"] == "mine" and not result["data"]["own"]
    assert (result["n"], result["recorded_test_error"]) == (30, None)
    # pixels are normalised as in training, not by the statistics of these images
    trained = load_network(run)
    program = make_logits(
        trained.network, trained.metadata.scale, trained.metadata.image_shape
    )
    logits = predict(program, trained.variables, images[:30])
    assert result["errors"] == (logits.argmax(axis=1) != labels[:30]).sum()


def test_all_images_of_ones_own_are_evaluated_and_some_classes_suffice(
    run, tmp_path, capsys, caplog
):
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    few = labels < 8
    path, only_test = tmp_path / "few.npz", tmp_path / "test.npz"
    np.savez(path, images=images[few], labels=labels[few])
    np.savez(only_test, test_images=images[few], test_labels=labels[few])
    result = evaluated(capsys, run, "--set", f"data.path={path}")
    assert result["n"] == few.sum() and not result["data"]["own"]
    assert f"of the {few.sum()} images that are evaluated" in caplog.text
    assert np.sum(result["confusion"], axis=1).tolist() == [
        *np.bincount(labels[few]),
        *(0, 0),
    ]
    other = evaluated(capsys, run, "--set", f"data.path={only_test}")
    assert other["confusion"] == result["confusion"]


def test_the_images_of_the_training_are_not_evaluated(run, tmp_path, capsys, caplog):
    expected = evaluated(capsys, run)
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    result = evaluated(capsys, run, "--set", f"data.path={tmp_path / 'all.npz'}")
    assert result["data"]["own"] and result["n"] == 359 and not caplog.records
    assert result["confusion"] == expected["confusion"]
    assert result["recorded_test_error"] == expected["test_error"]


def test_the_run_states_the_layout_and_splits_its_own_data():
    own = DataConfig(path="own.npz", layout="NHWC", digest=64 * "0")
    trained = dataclasses.replace(retrain_config(), data=own, split_seed=2)
    message = "held out its test images by split_seed=2"

    def changed(*overrides):
        return test_error.evaluation_config(trained, list(overrides))

    for overrides in ([], ["data.layout=NHWC"], ["split_seed=2"]):
        assert changed(*overrides).data == dataclasses.replace(own, pad=0)
    other = changed("data.path=other.npz").data
    assert (other.layout, other.digest) == ("NHWC", None)
    for overrides in ([], ["data.path=own.npz"], ["data.path=other.npz"]):
        with pytest.raises(ValueError, match=message):
            changed("split_seed=5", *overrides)
    on_digits = dataclasses.replace(trained, data=DataConfig())
    with pytest.raises(ValueError, match=message):
        test_error.evaluation_config(on_digits, ["split_seed=5"])


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
        ("run", ["--set", "data.path=many.npz"], "has the label 10, but the network"),
        ("run", ["--set", "data.classes=10"], "data.classes belongs to the training"),
        ("run", ["--set", "data.path=large.npz"], "are 12x12x1, and"),
        ("run", ["--set", "data.digest=" + 64 * "0"], "are not those that data.digest"),
        ("run", ["--set", "epochs=3"], "epochs belongs to the training"),
        ("run", ["--set", "split_seed=5"], "held out its test images by split_seed=0"),
        (
            "run",
            ["--set", "data.path=many.npz", "--set", "split_seed=5"],
            "Leave split_seed out",
        ),
        ("run", ["--set", "data.pth=x"], "Did you mean data.path"),
        ("run", ["--data-dir", "missing"], "does not exist"),
        ("run", ["--out", ""], "--out is empty"),
        ("run", ["--out", "many.npz"], "many.npz cannot be written: "),
        ("run", ["--set", "data.name=cifar10", "--data-dir", "."], "holds no cifar10"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    run, name, arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _npz("many.npz", classes=11, side=8)
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
def test_an_altered_model_json_is_refused(command, field, value, run, capsys):
    path = run / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    before = sorted(run.rglob("*"))
    assert main([*command, str(run)]) == 2
    assert "model.json cannot be read" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_a_network_that_diverged_is_reported(run):
    trained = load_network(run)
    trained.variables["params"]["classifier"]["bias"] *= np.nan
    config = test_error.evaluation_config(trained.config, [])
    data = test_error.load_data(trained, config, None)
    with pytest.raises(FloatingPointError, match="359 of 359 images are not finite"):
        test_error.evaluate_network(trained, data)


def test_the_figure_is_reproducible_for_any_number_of_classes():
    for classes in (2, 100):
        counts = np.eye(classes, dtype=int)
        bins = dict(
            bins=15,
            count=[0] * 14 + [5],
            confidence=[0.0] * 14 + [0.97],
            accuracy=[0.0] * 14 + [0.8],
        )
        evaluation = dict(
            confusion=counts,
            calibration=bins,
            ece=0.17,
            n=5,
            test_error=0.2,
            test_accuracy_top5=1.0,
            class_names=None,
            data={"name": "mine"},
        )
        figure = draw_evaluation(evaluation)
        assert ElementTree.fromstring(figure) is not None
        assert figure == draw_evaluation(evaluation)
