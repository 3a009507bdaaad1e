"""Writes the golden files of `benchmarks.parity` by torch on the CPU.

python -m benchmarks.make_golden [trial] [tiny] [full]

The small problems are computed in float64. The full one would take an hour in float64
on two cores, so it is computed in float32, and only the first individuals are
evaluated.
"""

import sys

import jax
import numpy as np
import torch
from torch.nn import functional

from benchmarks import parity, problem
from benchmarks.torch_net import SearchNetwork
from egnas_jax import interop
from egnas_jax.types import PyTree


def to_torch(variables: PyTree, config, like: dict) -> dict[str, torch.Tensor]:
    """Inverse of `interop.supernet_from_torch`.

    That function only moves numbers, so applying it to a network whose weights are
    their own positions shows where each of our numbers belongs.

    Args:
      variables: of our supernet.
      config: configuration of the supernet.
      like: torch name -> tensor of the right shape.
    """
    names = [name for name in like if not name.endswith("num_batches_tracked")]
    bounds = np.cumsum([0] + [like[name].numel() for name in names])
    assert bounds[-1] < 2**24  # float32 represents these integers exactly
    places = {
        name: np.arange(start, stop, dtype=np.float32).reshape(like[name].shape)
        for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True)
    }
    flat = np.full(bounds[-1], np.nan)
    read = interop.supernet_from_torch(places, config)
    for place, leaf in zip(
        jax.tree.leaves(read), jax.tree.leaves(variables), strict=True
    ):
        flat[np.asarray(place, int)] = leaf
    assert not np.isnan(flat).any()
    pieces = {
        name: torch.as_tensor(flat[start:stop].reshape(like[name].shape))
        for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True)
    }
    return dict(like) | pieces


def evaluate(net, drawn, case, batch_stats: str):
    """Loss and number of correct answers of the first individuals."""
    dtype = net.classifier.weight.dtype
    images = torch.as_tensor(drawn.images[: case.images]).permute(0, 3, 1, 2).to(dtype)
    labels = torch.as_tensor(drawn.labels[: case.images]).long()
    saved = {name: leaf.clone() for name, leaf in net.state_dict().items()}
    net.train(batch_stats == "batch")
    losses, correct = [], []
    with torch.inference_mode():
        for index in range(case.checked):
            logits = net(images, _mixing(drawn, index, dtype))
            losses.append(functional.cross_entropy(logits, labels).item())
            correct.append((logits.argmax(1) == labels).sum().item())
    net.load_state_dict(saved)
    return np.array(losses), np.array(correct)


def _mixing(drawn, index, dtype):
    rows = drawn.primitives.items()
    return {kind: torch.as_tensor(row[index]).to(dtype) for kind, row in rows}


def step(net, drawn, case):
    """Loss of a weight step, and its velocity as a tree of our parameters."""
    net.train()
    dtype = net.classifier.weight.dtype
    images = torch.as_tensor(drawn.images).permute(0, 3, 1, 2).to(dtype)
    logits = net(images, _mixing(drawn, 0, dtype))
    loss = functional.cross_entropy(logits, torch.as_tensor(drawn.labels).long())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), problem.CLIP)
    named = {n: leaf.numpy() for n, leaf in net.state_dict().items()}
    for name, weight in net.named_parameters():
        named[name] = (weight.grad + problem.WEIGHT_DECAY * weight).detach().numpy()
    return loss.item(), interop.supernet_from_torch(named, case.config)["params"]


def golden_arrays(
    case: parity.Case, drawn: parity.Drawn, dtype=torch.float64
) -> dict[str, np.ndarray]:
    """Computes the arrays of a golden file."""
    net = SearchNetwork(case.config)
    net.load_state_dict(to_torch(drawn.variables, case.config, net.state_dict()))
    arrays, net = {}, net.to(dtype)
    for batch_stats in ("running", "batch"):
        loss, correct = evaluate(net, drawn, case, batch_stats)
        arrays |= {f"loss_{batch_stats}": loss, f"correct_{batch_stats}": correct}
    arrays["loss_step"], velocity = step(net, drawn, case)
    gradients = parity.signature(velocity)
    return arrays | {
        "names": np.array(list(gradients)),
        "gradients": np.stack(list(gradients.values())),
    }


def main() -> None:
    for size in sys.argv[1:] or parity.CASES:
        case = parity.case_named(size)
        dtype = torch.float32 if size == "full" else torch.float64
        arrays = golden_arrays(case, parity.draw(case), dtype)
        path = parity.FOLDER / f"supernet_{size}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
