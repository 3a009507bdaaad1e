"""One retraining from a configuration to a run directory."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax

from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import StreamedDataset, open_arrays, open_imagenet
from egnas_jax.data.source import load_dataset
from egnas_jax.nn.cost import MULTIPLY_ADDS_CONVENTION, count_params, multiply_adds
from egnas_jax.nn.network import check_image_shape, make_network
from egnas_jax.retrain import datasets, loop
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import RetrainState, initial_state, make_programs
from egnas_jax.runs.data import data_as_loaded, digest_of
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.retrain_config import from_dict
from egnas_jax.space import Genotype, draw_svg
from egnas_jax.storage import checkpoint, records


class Model(NamedTuple):
    """What a network needs besides its weights: model.json.

    Attributes:
      image_shape: [H, W, C].
      mean, std: of the channels, of pixels in [0, 1].
      class_names: one a class, or None.
      search_seconds: what the search of its genotype took, or None if unknown.
    """

    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None
    search_seconds: float | None


def stored(folder: pathlib.Path) -> RetrainConfig:
    """The configuration of a retraining's directory.

    Raises:
      ValueError: it holds none.
    """
    return stored_config(folder, from_dict)


def prepare(
    config: RetrainConfig,
    data_dir: str | None,
    folder: pathlib.Path,
    report: Callable,
    search_seconds: float | None = None,
) -> tuple[RetrainConfig, loop.Run, Model]:
    """Data loaded and checked, programs made; nothing compiled, nothing written.

    Args:
      config: of the retraining.
      data_dir: where to look for the data, or None for the usual places.
      folder: run directory.
      report: called with each epoch's line, and with notes (`str`).
      search_seconds: of the search that found the genotype, if known; None takes what
        the run directory says of it already.

    Returns:
      The configuration with the data's number of classes and digest and its path made
      absolute, the run, and what else the network needs.

    Raises:
      ValueError: the data do not fit the configuration or are not those that it names
        by their digest, or the genotype has no path through a cell; model.json was
        altered.
    """
    if search_seconds is None and (folder / "model.json").exists():
        # resumed by the genotype's text, say: the search has cost what it has cost
        search_seconds = stored_model(folder).search_seconds
    if config.warmup > config.epochs:
        report(
            f"warmup is {config.warmup} and epochs {config.epochs}: the learning rate "
            f"will rise to the end."
        )
    source, digest = open_data(config, data_dir)
    network = dataclasses.replace(config.network, num_classes=source.num_classes)
    data = data_as_loaded(config.data, source.name, digest)
    config = dataclasses.replace(config, data=data, network=network)
    net = make_network(Genotype.parse(config.genotype), network)
    gather = datasets.streamed if config.stream else datasets.resident
    given = gather(source, config)
    check_image_shape(network, given.image_shape)
    scale = source.mean, source.std
    programs = make_programs(net, config, given.feed, given.image_shape, scale)
    run = loop.Run(
        folder, config, net, programs, given.feed, given.valid, given.test, report
    )
    model = Model(given.image_shape, *scale, source.class_names, search_seconds)
    return config, run, model


def open_data(
    config: RetrainConfig, data_dir: str | None
) -> tuple[Dataset | StreamedDataset, str]:
    """The data, in memory or to be read while they are used, and their digest.

    Raises:
      ValueError: they are not found, or damaged.
    """
    if config.data.name == "imagenet" and config.data.path is None:
        opened = open_imagenet(data_dir)
        return opened, opened.digest
    dataset = load_dataset(config.data, data_dir, config.split_seed)
    source = open_arrays(dataset) if config.stream else dataset
    return source, digest_of(dataset)


def find_start(run: loop.Run, *, resume: bool) -> RetrainState | None:
    """The run's own newest checkpoint, or None for the beginning.

    Raises:
      ValueError: the run's records do not go with its checkpoint.
    """
    state, notes = loop.newest(run) if resume else (None, ())
    after = "Going on from the one before." if state else "Starting over."
    for note in notes:
        run.report(f"{note} {after}")
    if resume and state is None:
        run.report(f"{run.folder}: no whole checkpoint, so from the beginning.")
    if state is not None:
        records.read_epochs(run.folder, loop.recorded(run, int(state.step)))
    return state


def first_state(run: loop.Run) -> RetrainState:
    """The state before the first step: drawn, or with another run's weights.

    Raises:
      ValueError: the weights do not fit.
    """
    state = run.programs.init()
    if run.config.init_from is None:
        return state
    params, batch_stats = transferred(state, pathlib.Path(run.config.init_from))
    return state._replace(params=params, batch_stats=batch_stats)


def transferred(state: RetrainState, folder: pathlib.Path):
    """Weights and statistics of a finished run, in the places of a new one.

    Classifiers of another number of classes stay as they were drawn; an auxiliary head
    is taken where both networks have one.

    Raises:
      ValueError: the run has no whole checkpoint, or another network.
    """
    other = restore(folder).tree.variables
    parts = []
    for name in ("params", "batch_stats"):
        given = dict(jax.tree_util.tree_leaves_with_path(other[name]))

        def take(path, own, given=given):
            head = path[0].key == "auxiliary" and path not in given
            classifier = path[0].key == "classifier" or (
                path[0].key == "auxiliary" and path[1].key == "classifier"
            )
            if path in given and given[path].shape == own.shape:
                return given[path]
            if head or classifier:
                return own
            raise ValueError(
                f"{folder} holds another network: at {jax.tree_util.keystr(path)} it "
                f"has {_shape(given.get(path))}, where {own.shape} is wanted. "
                f"Genotype, channels, layers and image channels must be those of that "
                f"run."
            )

        parts.append(jax.tree_util.tree_map_with_path(take, getattr(state, name)))
    return parts


def _shape(leaf):
    return "nothing" if leaf is None else leaf.shape


def restore(folder: pathlib.Path) -> checkpoint.Restored:
    """The newest whole checkpoint of a retraining, a `RetrainState`.

    Raises:
      ValueError: it holds no retraining, or no whole checkpoint.
    """
    config, model = stored(folder), stored_model(folder)
    net = make_network(Genotype.parse(config.genotype), config.network)
    layout = jax.eval_shape(lambda: initial_state(net, config, model.image_shape))
    try:
        return checkpoint.restore(folder / "checkpoints", layout)
    except checkpoint.NoCheckpointError as error:
        raise ValueError(f"{folder} holds no whole checkpoint. {error}") from None


def stored_model(folder: pathlib.Path) -> Model:
    """What model.json says.

    Raises:
      ValueError: it is missing or was altered.
    """
    try:
        fields = json.loads((folder / "model.json").read_text())
        lists = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return _checked(Model(**lists))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / 'model.json'} cannot be read ({type(error).__name__}). Name a "
            f"directory that `egnas retrain` wrote."
        ) from None


def _checked(model: Model) -> Model:
    """The model, if its fields have the types and lengths that `execute` writes.

    Raises:
      ValueError, TypeError: they have not.
    """
    shape, names, seconds = model.image_shape, model.class_names, model.search_seconds
    numbers = (*model.mean, *model.std, *(() if seconds is None else (seconds,)))
    fits = (
        len(shape) == 3
        and all(type(side) is int and side > 0 for side in shape)
        and len(model.mean) == len(model.std) == shape[-1]
        and all(type(number) in (int, float) for number in numbers)
        and all(std > 0 for std in model.std)
        and (names is None or all(isinstance(name, str) for name in names))
    )
    if not fits:
        raise ValueError(f"not a model: {model}")
    return model


def execute(
    run: loop.Run, model: Model, state: RetrainState, *, stop_after: int | None
) -> dict:
    """Trains in a claimed directory and writes what came out; the summary."""
    records.write_json(run.folder / "model.json", model._asdict())
    records.write_text(run.folder / "genotype.json", run.net.genotype.to_json())
    records.write_text(run.folder / "genotype.svg", draw_svg(run.net.genotype))
    try:
        loop.train(run, state, stop_after)
    finally:
        run.feed.close()
    return finish(run, model)


def finish(run: loop.Run, model: Model) -> dict:
    """The summary of the epochs so far, written.

    The last epoch's test error is the result. The least one is a choice by the test
    set, and so too good; it stands beside it under its own name.
    """
    lines = records.read_epochs(run.folder)
    tested = [line for line in lines if line["test_error"] is not None]
    best = min(tested, key=lambda line: line["test_error"])
    height, width, channels = model.image_shape
    costs = run.net.genotype, run.net.config
    summary = {
        "genotype": run.net.genotype.format(),
        "test_error_last": tested[-1]["test_error"],
        "test_error_best": best["test_error"],
        "best_epoch": best["epoch"],
        "test_error_chosen_by_validation": _chosen(tested),
        "seeds": [run.config.seed],
        "epochs": len(lines),
        "params": count_params(*costs, image_channels=channels),
        "multiply_adds": (
            multiply_adds(*costs, height, image_channels=channels)
            if height == width
            else None
        ),
        "multiply_adds_convention": MULTIPLY_ADDS_CONVENTION,
        "seconds": sum(line["seconds"] for line in lines),
        "search_seconds": model.search_seconds,
        "test_images": len(run.test.labels),
        "digest": tested[-1]["digest"],
    }
    records.write_json(run.folder / "summary.json", summary)
    return summary


def _chosen(tested: list[dict]) -> float | None:
    """Test error of the epoch with the best validation accuracy; None without one."""
    judged = [line for line in tested if line["valid_accuracy"] is not None]
    if not judged:
        return None
    return max(judged, key=lambda line: line["valid_accuracy"])["test_error"]
