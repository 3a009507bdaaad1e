"""Retraining on photographs of many sizes that are streamed from files."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from egnas_jax.cli.main import main
from egnas_jax.data.examples import open_imagenet
from egnas_jax.data.files.prepare_folders import prepare_folders
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.storage import records

pytestmark = pytest.mark.slow

pytest.importorskip("tensorflow_datasets")

CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
TINY = (
    "network.channels=4 network.layers=3 network.auxiliary=false image_size=32 "
    "batch_size=8 accumulate=2 epochs=8 warmup=1 steps_per_call=2 learning_rate=0.1"
)


def retrain_command(data_dir, *more_settings):
    command = ["retrain", "--genotype", CELLS, "--preset", "imagenet"]
    command += ["--data-dir", str(data_dir)]
    settings = [*TINY.split(), *more_settings]
    return command + [word for setting in settings for word in ("--set", setting)]


def write_photographs(folder, per_class):
    """Photographs of three classes; each class has one bright colour channel."""
    rng = np.random.default_rng(per_class)
    for label in range(3):
        class_folder = folder / f"n{label:08d}"
        class_folder.mkdir(parents=True)
        for i in range(per_class):
            height, width = rng.integers(36, 90, 2)
            image = rng.integers(0, 60, (height, width, 3))
            image[:, :, label] += 190
            Image.fromarray(image.astype(np.uint8)).save(class_folder / f"{i}.JPEG")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Files train/CLASS/*.JPEG and val/CLASS/*.JPEG, 12 and 5 per class."""
    home = tmp_path_factory.mktemp("photographs")
    write_photographs(home / "train", 12)
    write_photographs(home / "val", 5)
    return home


@pytest.fixture(scope="module")
def prepared(folders, tmp_path_factory):
    """The tfds directory that `egnas data prepare` makes of these files."""
    out = tmp_path_factory.mktemp("tfds")
    command = ["data", "prepare", "--name", "imagenet", "--data-dir", str(folders)]
    assert main([*command, "--out", str(out)]) == 0
    return out


def test_the_preset_trains_as_pc_darts_does():
    config = retrain_config("imagenet")
    expected = dict(
        epochs=250,
        batch_size=1024,
        learning_rate=0.5,
        schedule="linear",
        warmup=5,
        momentum=0.9,
        weight_decay=3e-5,
        clip_norm=5.0,
        auxiliary_weight=0.4,
        label_smoothing=0.1,
        image_size=224,
        stream=True,
    )
    assert {name: getattr(config, name) for name in expected} == expected
    network, data = config.network, config.data
    assert (network.channels, network.layers, network.frame) == (48, 14, "imagenet")
    assert (network.drop_path, network.auxiliary) == (0.0, True)
    assert (data.pad, data.flip, data.cutout, data.colour_jitter) == (0, True, 0, 0.4)
    # batch statistics of 128 images, as on each of eight cards
    assert config.batch_size // config.accumulate == 128


def test_prepared_shards_hold_the_files_unchanged(folders, tmp_path):
    import tensorflow_datasets as tfds

    folder = prepare_folders(folders, tmp_path, shard=10)
    assert len(list(folder.glob("*-train.array_record-*-of-00004"))) == 4
    source = tfds.data_source(
        "imagenet2012", split="train", data_dir=tmp_path, download=False
    )
    assert [int(example["label"]) for example in source] == sum(
        ([label] * 12 for label in range(3)), []
    )
    opened = open_imagenet(tmp_path)
    assert (opened.num_classes, opened.train.size, opened.test.size) == (3, 36, 15)
    assert opened.class_names == ("n00000000", "n00000001", "n00000002")
    files = sorted((folders / "train" / "n00000001").iterdir())
    for index, path in enumerate(files, start=12):
        image, label = opened.train.read(index)
        with Image.open(path) as expected:
            np.testing.assert_array_equal(image, expected.convert("RGB"))
        assert label == 1
    np.testing.assert_array_equal(opened.test.labels(np.array([4, 5, 14])), [0, 1, 2])


def test_a_stopped_run_resumes_to_the_same_digests(prepared, tmp_path, capsys):
    command = retrain_command(prepared)
    straight, parts = tmp_path / "straight", tmp_path / "parts"
    assert main([*command, "--out", str(straight), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["test_images"], summary["epochs"]) == (15, 8)
    assert main([*command, "--out", str(parts), "--stop-after", "3"]) == 0
    assert main([*command, "--out", str(parts), "--resume"]) == 0
    lines, others = (records.read(out / "metrics.jsonl") for out in (straight, parts))
    assert [line["digest"] for line in lines] == [line["digest"] for line in others]
    assert len({line["digest"] for line in lines}) == 8
    assert summary["test_error_last"] == lines[-1]["test_error"]
    model = json.loads((straight / "model.json").read_text())
    assert model["image_shape"] == [32, 32, 3]
    capsys.readouterr()
    command = ["evaluate", str(straight), "--data-dir", str(prepared), "--json"]
    assert main(command) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["test_error"] == lines[-1]["test_error"]


def delete_a_shard(folder):
    sorted(folder.glob("*validation*"))[1].unlink()


def empty_a_shard(folder):
    sorted(folder.glob("*validation*"))[1].write_bytes(b"")


@pytest.mark.parametrize("damage", [delete_a_shard, empty_a_shard])
def test_a_damaged_data_set_is_refused(folders, tmp_path, damage):
    damage(prepare_folders(folders, tmp_path, shard=5))
    with pytest.raises(ValueError, match="cannot be read as a prepared data set"):
        open_imagenet(tmp_path)


@pytest.mark.parametrize(
    "settings, message",
    [
        (["stream=false"], "Set stream=true and image_size=224"),
        (["image_size=none"], "Set stream=true and image_size=224"),
        (["image_size=100"], "divisible by 32"),
        (["image_size=192", "network.auxiliary=true"], "sides of 224, 256"),
        (["batch_size=64"], "allowed is 1 to 36"),
        (["data.pad=224"], "data.pad=224"),
        (["image_size=0"], "image_size is 0"),
    ],
)
def test_bad_settings_are_refused(settings, message, prepared, tmp_path, capsys):
    command = retrain_command(prepared, *settings)
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_error_for_missing_data_says_how_to_prepare_them(tmp_path, capsys):
    command = ["retrain", "--genotype", "DARTS_V2", "--preset", "imagenet"]
    assert main([*command, "--data-dir", str(tmp_path)]) == 2
    assert "egnas data prepare --name imagenet" in capsys.readouterr().err
    search = ["search", "--set", "data.name=imagenet", "--out", str(tmp_path / "run")]
    assert main(search) == 2
    assert "does not fit in memory" in capsys.readouterr().err
    make = ["data", "prepare", "--name", "imagenet", "--data-dir", str(tmp_path)]
    assert main([*make, "--out", str(tmp_path / "tfds")]) == 2
    assert "It must hold train/CLASS/*.JPEG" in capsys.readouterr().err


def test_both_splits_must_have_the_same_classes(folders, tmp_path):
    shutil.copytree(folders, tmp_path / "in")
    shutil.rmtree(tmp_path / "in" / "val" / "n00000002")
    with pytest.raises(ValueError, match="n00000002 has images in one of train and"):
        prepare_folders(tmp_path / "in", tmp_path / "out")
