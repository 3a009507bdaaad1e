"""Implements `egnas latency-table`, which measures and checks tables of latencies."""

import argparse
import dataclasses

from egnas_jax.cli.console import say, use_compilation_cache
from egnas_jax.lookup import lookup

SHOWN = 4  # digits of a number
# data set -> side and channels of its images, number of classes
SHAPES = {
    "digits": (8, 1, 10),
    "cifar10": (32, 3, 10),
    "cifar100": (32, 3, 100),
    "imagenet": (224, 3, 1000),
}


def latency_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas latency-table`."""
    add = parser.add_argument
    add("--space", default="darts7", help="space of the cells (default: darts7)")
    text = "whose retraining's network is measured (default: cifar10)"
    add("--preset", default="cifar10", help=text)
    add("--batch-size", type=int, default=1, metavar="N", help="images of a batch")
    add("--channels", type=int, metavar="C", help="of the first cell, if not as preset")
    add("--layers", type=int, metavar="L", help="number of cells, if not as preset")
    add("--image-size", type=int, metavar="S", help="side of images, if not as preset")
    text = "measure random cells, too, and print how well the table ranks them"
    add("--check", action="store_true", help=text)
    add("--cells", type=int, default=100, metavar="N", help="of --check (default: 100)")


def latency_table(options: argparse.Namespace) -> None:
    """Prints the table of this device, and with --check how well it predicts."""
    for name, least in (("batch_size", 1), ("cells", 3), ("image_size", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(
                f"--{name.replace('_', '-')} is {value}, but must be at least {least}."
            )
    from egnas_jax.runs.plugins import identity_of_primitives
    from egnas_jax.space import SPACES
    from egnas_jax.training.latency_table import latency_costs

    space = lookup(SPACES, options.space, "space")
    network = _network(options, space)
    use_compilation_cache()
    plugins = identity_of_primitives(space)
    costs = latency_costs(space, network, options.batch_size, plugins=plugins, log=say)
    print(f"frame: {costs.base / 1e6:.{SHOWN}g} ms")
    for row in _rows(space, costs):
        print(row)
    if options.check:
        _check(options, space, network, costs)


def _network(options, space):
    """The network that a retraining with the preset would train, and its images.

    Cells with one input have the network of NAS-Bench-201.
    """
    from egnas_jax.nn.edge_costs import CountedNetwork
    from egnas_jax.nn.network_cost import published_network
    from egnas_jax.runs.retrain_config import retrain_config

    config = retrain_config(options.preset)
    network = config.network
    if "reduce" not in space.kinds:
        network = published_network(space.macro)
    sizes = {
        name: value
        for name in ("channels", "layers")
        if (value := getattr(options, name)) is not None
    }
    stages = network.stages or space.stages
    side, channels, sizes["num_classes"] = _images_and_classes(
        config, options.image_size or config.image_size
    )
    network = dataclasses.replace(network, auxiliary=False, stages=stages, **sizes)
    return CountedNetwork(network, side, channels)


def _images_and_classes(config, image_size: int | None) -> tuple[int, int, int]:
    """Side and channels of the images of a retraining, and its number of classes.

    Args:
      config: of the retraining.
      image_size: side to which they are resized, pixels, or None.
    """
    if config.data.path is None:
        side, channels, classes = SHAPES[config.data.name]
        return image_size or side, channels, classes
    from egnas_jax.data.source import load_dataset

    dataset = load_dataset(config.data)
    height, width, channels = dataset.images.shape[1:]
    if image_size is None and height != width:
        raise ValueError(
            f"The images of {config.data.path} have {height}x{width} pixels, and "
            f"latencies are those of square images. Give their side by --image-size."
        )
    return image_size or height, channels, dataset.num_classes


def _rows(space, costs) -> list[str]:
    """What one edge of a kind of cell costs by its primitive, milliseconds."""
    rows = []
    for kind, table in zip(space.kinds, costs.edges, strict=True):
        for what, edge in (("from an input", 0), ("from a node", -1)):
            cells = [
                f"{name} {nanoseconds / 1e6:.{SHOWN}g}"
                for name, nanoseconds in zip(space.primitives, table[edge], strict=True)
            ]
            rows.append(f"{kind}, {what}, ms: {', '.join(cells)}")
    return rows


def _check(options, space, network, costs) -> None:
    from egnas_jax.studies.latency_check import check_latencies

    def on_cell(done: int) -> None:
        if done % 10 == 0:
            say(f"{done} of {options.cells} cells are compiled.")

    result = check_latencies(
        space,
        network,
        options.batch_size,
        costs,
        number=options.cells,
        on_cell=on_cell,
    )
    low, high = result.measured.min(), result.measured.max()
    print(
        f"{options.cells} random cells, batches of {options.batch_size}: measured "
        f"{low:.{SHOWN}g} to {high:.{SHOWN}g} ms, Spearman of predicted and measured "
        f"{result.spearman:.3f}"
    )
