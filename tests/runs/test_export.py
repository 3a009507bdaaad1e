"""Tests that exported networks give the same logits in other runtimes."""

import functools
import json
import pathlib
import runpy
import subprocess
import sys
from typing import NamedTuple

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from own_primitives import CONV_NORM, SQUEEZE_EXCITE
from safetensors import safe_open
from safetensors.numpy import load, load_file

from egnas_jax import export, interop
from egnas_jax.cli.main import main
from egnas_jax.export.program import PLATFORMS
from egnas_jax.nn import primitives as nn_primitives
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.primitives import register_primitive
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.runs.finished_network import load_network
from egnas_jax.space import DARTS_PRIMITIVES, Genotype, zoo
from egnas_jax.space.primitive_names import FAMILIES

NAMES = [*DARTS_PRIMITIVES]


def pairs_of(text):
    """Pairs (primitive, source) from "primitive source primitive source ..."."""
    words = text.split()
    return list(zip(words[::2], map(int, words[1::2]), strict=True))


ALL_PRIMITIVES = Genotype(
    list(zip(NAMES, [0, 1, 2, 0, 3, 1, 4, 2, 5, 0], strict=True)),
    [1, 3, 6],
    [(name, i % 2) for i, name in enumerate(reversed(NAMES))],
    [2, 6],
)
# Some nodes are zero, some are not used, and some equal one of their inputs.
SPARSE = Genotype(
    pairs_of("max_pool_3x3 0 none 1 none 0 none 2 skip_connect 1 dil_conv_3x3 0"),
    [2, 3],
    pairs_of("none 0 none 1 skip_connect 1 none 2 skip_connect 2 avg_pool_3x3 0"),
    [2, 3, 4],
)
CASES = {
    "all primitives, cifar": (ALL_PRIMITIVES, "cifar", True, 32),
    "all primitives, imagenet": (ALL_PRIMITIVES, "imagenet", False, 64),
    "sparse, cifar": (SPARSE, "cifar", False, 8),
    "sparse, imagenet": (SPARSE, "imagenet", False, 64),
}


class Case(NamedTuple):
    """A network with random weights and statistics, pixels, and its logits."""

    finished: export.Finished
    pixels: np.ndarray
    logits: np.ndarray


def random_network(genotype, frame="cifar", auxiliary=False, side=8):
    """A network with random weights and statistics."""
    config = NetworkConfig(4, 3, 5, auxiliary, frame=frame)
    rng, shape = np.random.default_rng(0), (side, side, 3)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return (0.3 * rng.normal(size=leaf.shape)).astype(np.float32)

    init = functools.partial(make_network(genotype, config).init, image_shape=shape)
    variables = jax.tree_util.tree_map_with_path(
        draw, jax.eval_shape(init, jax.random.key(0))
    )
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    return export.Finished(
        genotype=genotype,
        config=config,
        variables=variables,
        image_shape=shape,
        mean=mean,
        std=std,
        class_names=None,
    )


def logits_of(finished, pixels):
    net = make_network(finished.genotype, finished.config)
    program = make_logits(net, (finished.mean, finished.std), finished.image_shape)
    return np.asarray(program(finished.variables, pixels))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    finished = random_network(*CASES[request.param])
    pixels = np.random.default_rng(1).integers(
        0, 256, (3, *finished.image_shape), np.uint8
    )
    return Case(finished, pixels, logits_of(finished, pixels))


def assert_close(logits, expected):
    scale = np.abs(expected).max()
    assert logits.shape == expected.shape and scale > 1e-3
    np.testing.assert_allclose(logits / scale, expected / scale, atol=1e-5)


def session(content):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_onnx_gives_the_same_logits(case):
    content = export.FORMATS["onnx"].write(case.finished)
    runtime = session(content)
    assert_close(runtime.run(None, {"images": case.pixels})[0], case.logits)
    (one_image,) = runtime.run(None, {"images": case.pixels[1:2]})
    assert_close(one_image, case.logits[1:2])
    model = onnx.load_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {name for node in model.graph.node for name in node.input}
    assert constants <= inputs
    assert not any("auxiliary" in name for name in constants)
    outputs = {name for node in model.graph.node for name in node.output}
    assert outputs - inputs == {"logits"}  # no result is unused
    assert model.opset_import[0].version == 17 and model.ir_version == 8
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_torch_loads_the_weights_and_gives_the_same_logits(case):
    torch = pytest.importorskip("torch", reason="torch (extra bench) is missing")
    network = runpy.run_path(pathlib.Path(__file__).with_name("torch_network.py"))
    finished = case.finished
    weights = load(export.FORMATS["safetensors"].write(finished))
    net = network["Network"](finished.genotype, finished.config)
    net.load_state_dict({n: torch.from_numpy(w.copy()) for n, w in weights.items()})
    images = (case.pixels / 255 - finished.mean) / finished.std
    images = torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float32)
    with torch.no_grad():
        assert_close(net.eval()(images).numpy(), case.logits)


def test_full_convolutions_run_as_onnx():
    pairs = pairs_of("nor_conv_3x3 0 nor_conv_1x1 1 nor_conv_3x3 2 skip_connect 0")
    finished = random_network(Genotype(pairs, [2, 3], pairs, [2, 3]))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    runtime = session(export.FORMATS["onnx"].write(finished))
    expected = logits_of(finished, pixels)
    assert_close(runtime.run(None, {"images": pixels})[0], expected)


@pytest.fixture
def own_network():
    """A network with two primitives of a user's own."""
    own = (CONV_NORM, SQUEEZE_EXCITE)
    for primitive in own:
        register_primitive(primitive)
    pairs = pairs_of("own_conv_3x3 0 squeeze_excite 1 squeeze_excite 2 skip_connect 0")
    yield random_network(Genotype(pairs, [2, 3], pairs, [2, 3]))
    for primitive in own:
        del nn_primitives.PRIMITIVES[primitive.name], FAMILIES[primitive.name]


def test_own_primitives_are_stored_by_the_paths_of_their_weights(own_network):
    content = export.FORMATS["safetensors"].write(own_network)
    weights = load(content)
    assert weights["cells.0._ops.0.params.conv"].shape == (3, 3, 4, 4)
    assert "cells.2._ops.2.batch_stats.BatchNorm_0.mean" in weights
    restored = interop.network_from_torch(
        weights, own_network.genotype, own_network.config
    )
    jax.tree.map(np.testing.assert_array_equal, restored, own_network.variables)


@pytest.mark.parametrize("function", ["check", "write"])
def test_onnx_names_a_primitive_that_it_cannot_write(own_network, function):
    with pytest.raises(ValueError, match="own_conv_3x3 .*--format stablehlo"):
        getattr(export.FORMATS["onnx"], function)(own_network)
    for name in ("safetensors", "stablehlo"):
        export.FORMATS[name].check(own_network)


def test_own_primitives_run_as_stablehlo(own_network):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    content = export.FORMATS["stablehlo"].write(own_network)
    program = jax.export.deserialize(bytearray(content))
    assert_close(np.asarray(program.call(pixels)), logits_of(own_network, pixels))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(zoo))
def test_every_published_cell_runs_as_onnx(name):
    finished = random_network(zoo[name].genotype)
    runtime = session(export.FORMATS["onnx"].write(finished))
    (logits,) = runtime.run(None, {"images": np.zeros((2, 8, 8, 3), np.uint8)})
    assert logits.shape == (2, 5) and np.isfinite(logits).all() and np.ptp(logits) > 0


@pytest.fixture(scope="module")
def exported(seeds, tmp_path_factory):
    """Every format of a trained run, pixels, and the logits of the run."""
    folder = tmp_path_factory.mktemp("exported")
    for name in export.FORMATS:
        command = ["export", str(seeds / "seed1"), "--format", name]
        assert main([*command, "--out", str(folder / "new" / name)]) == 0
    found = load_network(seeds / "seed1")
    pixels = np.random.default_rng(1).integers(0, 256, (70, 8, 8, 1), np.uint8)
    program = make_logits(found.network, found.metadata.scale, (8, 8, 1))
    logits = predict(program, found.variables, pixels)
    np.save(folder / "pixels.npy", pixels)
    return folder, found, pixels, logits


@pytest.mark.slow
def test_a_trained_run_as_onnx_gives_the_same_logits(exported):
    folder, found, pixels, logits = exported
    content = (folder / "new" / "onnx").read_bytes()
    assert_close(session(content).run(None, {"images": pixels})[0], logits)
    about = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    assert about == export.describe(found.finished)


def test_a_trained_run_as_safetensors_is_rebuilt_from_the_file_alone(exported):
    folder, found, pixels, logits = exported
    path = folder / "new" / "safetensors"
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    genotype = Genotype.parse(about["genotype"])
    config = NetworkConfig(**json.loads(about["network"]))
    assert about["num_classes"] == "10" and about["format"] == "pt"
    assert json.loads(about["class_names"]) == [str(digit) for digit in range(10)]
    variables = interop.network_from_torch(load_file(path), genotype, config)
    jax.tree.map(np.testing.assert_array_equal, variables, found.variables)
    scale = tuple(tuple(json.loads(about[name])) for name in ("mean", "std"))
    program = make_logits(make_network(genotype, config), scale, (8, 8, 1))
    np.testing.assert_array_equal(predict(program, variables, pixels), logits)


RUN_WITHOUT_THE_PACKAGE = """
import sys
sys.modules["egnas_jax"] = None  # makes its import fail
import jax.export, numpy
program = jax.export.deserialize(bytearray(open("new/stablehlo", "rb").read()))
pixels = numpy.load("pixels.npy")
logits = numpy.concatenate([program.call(pixels[:1]), program.call(pixels[1:])])
numpy.save("logits.npy", logits)
print(",".join(program.platforms))
assert not [name for name in sys.modules if name.startswith(("egnas_jax.", "flax"))]
"""


def test_a_trained_run_as_stablehlo_only_needs_jax(exported):
    folder, found, _, logits = exported
    command = [sys.executable, "-c", RUN_WITHOUT_THE_PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ",".join(PLATFORMS)
    assert_close(np.load(folder / "logits.npy"), logits)
    about = json.loads((folder / "new" / "stablehlo.json").read_text())
    assert about == export.describe(found.finished)


def test_the_default_output_is_in_the_run_directory(run, capsys):
    assert main(["export", str(run), "--format", "safetensors"]) == 0
    assert "epoch 2 of 2" in capsys.readouterr().out
    assert load_file(run / "network.safetensors")["classifier.bias"].shape == (10,)


@pytest.mark.parametrize(
    "place, arguments, message",
    [
        ("run", ["--format", "onx"], "Did you mean onnx"),
        ("run", ["--format", "onnx", "--out", "DIRECTORY"], "must name a file"),
        ("run", ["--format", "onnx", "--out", ""], "must name a file"),
        (
            "run",
            ["--format", "safetensors", "--out", "FILE/x"],
            "FILE cannot be written: ",
        ),
        ("seeds", ["--format", "onnx"], "holds 2 seeds. Name one of them: "),
        ("search", ["--format", "onnx"], "Train that first: egnas retrain --genotype"),
        ("bare", ["--format", "onnx"], "holds no readable genotype.json"),
        ("empty", ["--format", "onnx"], "holds no run"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_written(
    place, arguments, message, run, seeds, tmp_path, capsys
):
    places = {"seeds": seeds, "run": run} | {
        name: tmp_path / name for name in ("empty", "search", "bare", "DIRECTORY")
    }
    for name in ("empty", "search", "bare", "DIRECTORY"):
        places[name].mkdir()
    (places["search"] / "config.json").write_text('{"supernet": {}}')
    (tmp_path / "FILE").touch()
    places["FILE/x"] = tmp_path / "FILE" / "x"
    for name in ("config.json", "model.json"):
        (places["bare"] / name).write_bytes((run / name).read_bytes())
    arguments = [str(places.get(word, word)) for word in arguments]
    before = sorted(tmp_path.rglob("*")) + sorted(seeds.rglob("*"))
    assert main(["export", str(places[place]), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) + sorted(seeds.rglob("*")) == before


def test_a_missing_package_is_named_with_its_extra(run, monkeypatch, capsys):
    missing = export.FORMATS["onnx"]._replace(packages=("onnx_of_another_world",))
    monkeypatch.setitem(export.FORMATS, "onnx", missing)
    assert main(["export", str(run), "--format", "onnx"]) == 2
    message = capsys.readouterr().err
    assert "onnx_of_another_world" in message and "egnas-jax[export]" in message
    assert not (run / "network.onnx").exists()
