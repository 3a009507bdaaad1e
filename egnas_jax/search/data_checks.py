"""Refuses images that a search cannot use, before anything is compiled.

Dims: N images, H, W height and width in pixels, C channels.
"""

from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.search.state import SearchData, SearchProblem

# of the message where there are too few validation images
VALID_BATCH = "The number of validation images of an update"
VALID_BATCH_ADVICE = (
    "A batch has strategy.fitness_batch_size images, or strategy.batch_size, whichever "
    "the method has. EG-NAS takes strategy.fitness_batches of them, or as many as a "
    "race needs, which strategy.race.budget decides. Set one of these smaller, or use "
    "more images."
)


def check_data(
    problem: SearchProblem, image_shape: tuple[int, int, int], data: SearchData
) -> None:
    """Refuses data that a search cannot use; looks at shapes alone.

    Args:
      problem: has the sizes of the batches.
      image_shape: (H, W, C) that the search was made for.
      data: of the call.

    Raises:
      ValueError: images of another shape, or fewer than a batch has.
    """
    for name, part in (("train", data.train), ("valid", data.valid)):
        if part.images.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"data.{name}.images is {part.images.dtype}{list(part.images.shape)}, "
                f"but the search was made for images {tuple(image_shape)}. Give "
                f"[N, H, W, C] of that shape, which all members of a batch share "
                f"(in_axes=None), or make a search for these images."
            )
    sizes = problem.sgd.batch_size, problem.valid_batch_size
    check_batch_sizes(sizes, data.train, data.valid)


def check_batch_sizes(
    sizes: tuple[int, int], train: LabelledImages, valid: LabelledImages
) -> None:
    """Refuses batches that the images of training or of validation cannot fill.

    Args:
      sizes: images of a weight step, and of an update of the method.
      train, valid: the images of either half.

    Raises:
      ValueError: a batch is larger than its half.
    """
    check_batch_size(sizes[0], len(train.labels))
    check_valid_batch_size(sizes[1], len(valid.labels))


def check_valid_batch_size(size: int, num_images: int) -> None:
    """Refuses an update that takes more validation images than there are.

    Args:
      size: `valid_batch_size` of the method.
      num_images: for validation.

    Raises:
      ValueError: says what the size is made of.
    """
    check_batch_size(size, num_images, VALID_BATCH, VALID_BATCH_ADVICE)
