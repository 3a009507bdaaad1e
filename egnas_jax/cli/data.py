"""Converts official files and draws sample images: the command `egnas data`."""

import argparse

from egnas_jax.cli.console import say
from egnas_jax.lookup import check_known

PREPARED = ("cifar10", "cifar100", "imagenet", "nasbench201")


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas data`."""
    add = parser.add_argument
    add(
        "action",
        choices=("prepare", "show"),
        help="prepare: convert official files to a tensorflow-datasets directory, or "
        "the archive of NAS-Bench-201 to an .npz; show: draw images of each class",
    )
    text = "data set (default: cifar10); prepare also takes imagenet and nasbench201"
    add("--name", default="cifar10", help=text)
    add("--path", help="show: your own .npz file, instead of --name")
    text = "show: NHWC states that the images of --path are [N, H, W, C]"
    add("--layout", help=text)
    add("--data-dir", help="folder with the official files; prepare requires it")
    text = "prepare: folder to write (nasbench201: .npz file); show: .png file"
    add("--out", required=True, help=text)
    text = "prepare imagenet: leave out and list images that cannot be read"
    add("--skip-broken", action="store_true", help=text)


def data(options: argparse.Namespace) -> None:
    """Prepares a data set, or draws images of each of its classes."""
    if options.action == "prepare":
        check_known(PREPARED, options.name, "data set to prepare")
        if options.data_dir is None:
            raise ValueError(
                "data prepare needs --data-dir, a folder with the official files."
            )
    from egnas_jax.data.config import DataConfig
    from egnas_jax.data.files.prepare import prepare
    from egnas_jax.data.files.prepare_folders import prepare_folders
    from egnas_jax.data.show import contact_sheet
    from egnas_jax.data.source import load_dataset
    from egnas_jax.studies.nasbench201.archive import prepare_table

    if options.action == "show":
        config = DataConfig(
            name=options.name, pad=0, path=options.path, layout=options.layout
        )
        contact_sheet(load_dataset(config, options.data_dir), out=options.out)
    elif options.name == "nasbench201":
        prepare_table(options.data_dir, options.out, say)
    elif options.name == "imagenet":
        prepare_folders(
            options.data_dir, options.out, skip_broken=options.skip_broken, log=say
        )
    else:
        prepare(options.name, options.data_dir, options.out)
    print(options.out)
