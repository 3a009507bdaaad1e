"""Lists the proxies by name, with what each of them needs."""

from typing import NamedTuple, Protocol

from egnas_jax.lookup import lookup
from egnas_jax.proxies import activation, saliency, size
from egnas_jax.proxies.network import ProxyNetwork
from egnas_jax.types import Array, Batch, Key, PyTree


class Score(Protocol):
    def __call__(
        self, network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key
    ) -> Array:
        """Scores an untrained network.

        Args:
          network: the network.
          variables: {"params", "batch_stats"}, as it is initialised.
          batch: a batch of images and labels.
          key: of random numbers, which only zen draws.

        Returns:
          f32[]; larger is better.
        """


class Proxy(NamedTuple):
    """One proxy.

    Attributes:
      name: as commands write it.
      score: the function.
      needs: of "weights" (values of the kernels), "images" (their pixels), "labels",
        "gradient", "hessian" and "normal" (kernels drawn by `normal_kernels`).
      passes: forward passes that it takes of each image; a backward pass counts 2.
      least_images: smallest number of images of a batch; a proxy that compares images
        with each other gives all cells one score, or nearly so, on a single image.
    """

    name: str
    score: Score
    needs: frozenset[str]
    passes: int
    least_images: int = 1

    def forward_passes(self, images: int) -> int:
        """Returns the forward passes of one image that a score takes on a batch.

        A proxy that reads no pixels and takes gradients runs one image of ones.

        Args:
          images: of the batch.
        """
        return self.passes * self.images_read(images)

    def images_read(self, images: int) -> int:
        """Returns the number of images that a score runs the network on.

        Args:
          images: of the batch.
        """
        return images if {"images", "normal"} & self.needs else 1


def _proxy(
    score: Score, needs: str = "", passes: int = 0, least_images: int = 1
) -> Proxy:
    needed = frozenset(needs.split())
    return Proxy(score.__name__, score, needed, passes, least_images)


PROXIES: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        _proxy(size.params),
        _proxy(size.multiply_adds),
        _proxy(saliency.l2_norm, "weights"),
        _proxy(saliency.grad_norm, "weights images labels gradient", 3),
        _proxy(saliency.snip, "weights images labels gradient", 3),
        # the gradient, and twice its cost to differentiate it
        _proxy(saliency.grasp, "weights images labels gradient hessian", 9),
        _proxy(saliency.synflow, "weights gradient", 3),
        _proxy(activation.fisher, "weights images labels gradient", 3),
        _proxy(activation.jacov, "weights images gradient", 3, least_images=2),
        _proxy(activation.naswot, "weights images", 1, least_images=2),
        _proxy(activation.zen, "normal", 2),
    )
}


def check_images(name: str, images: int, setting: str) -> None:
    """Refuses a batch on which a proxy cannot tell cells apart.

    Args:
      name: a key of `PROXIES`.
      images: of the batch.
      setting: what messages call their number.

    Raises:
      ValueError: there is no such proxy, or there are too few images.
    """
    least = lookup(PROXIES, name, "proxy").least_images
    if images < least:
        raise ValueError(
            f"{setting} is {images}, but {name} compares images with each other and "
            f"needs at least {least}. Give more images, or use another proxy."
        )
