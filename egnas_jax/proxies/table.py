"""Lists the proxies by name, with what each of them needs."""

from typing import NamedTuple, Protocol

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
    """

    name: str
    score: Score
    needs: frozenset[str]


def _proxy(score: Score, needs: str = "") -> Proxy:
    return Proxy(score.__name__, score, frozenset(needs.split()))


PROXIES: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        _proxy(size.params),
        _proxy(size.multiply_adds),
        _proxy(saliency.l2_norm, "weights"),
        _proxy(saliency.grad_norm, "weights images labels gradient"),
        _proxy(saliency.snip, "weights images labels gradient"),
        _proxy(saliency.grasp, "weights images labels gradient hessian"),
        _proxy(saliency.synflow, "weights gradient"),
        _proxy(activation.fisher, "weights images labels gradient"),
        _proxy(activation.jacov, "weights images gradient"),
        _proxy(activation.naswot, "weights images"),
        _proxy(activation.zen, "normal"),
    )
}
