"""Implements the derived network in torch, as its papers describe it.

Parameter names are those of the DARTS family, so that `interop.network_to_torch` gives
its weights. Only the frame for CIFAR is implemented.

Dims: N images, C channels.
"""

import torch
from torch import nn

from benchmarks.torch_net import FactorizedReduce, ReLUConvBN, operation
from egnas_jax.nn.network_config import NetworkConfig, cell_plan, output_channels
from egnas_jax.space import Genotype


def drop_paths(x: torch.Tensor, probability: float) -> torch.Tensor:
    """Zeroes whole images with a probability and scales the rest to keep the mean."""
    keep = 1.0 - probability
    kept = torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    return x / keep * kept.bernoulli_(keep)


class Cell(nn.Module):
    def __init__(self, genotype: Genotype, plan):
        super().__init__()
        older, newer = plan.inputs
        first = FactorizedReduce if plan.reduced_before else ReLUConvBN
        self.preprocess0 = first(older, plan.channels, True)
        self.preprocess1 = ReLUConvBN(newer, plan.channels, True)
        self.pairs = getattr(genotype, plan.kind)
        self.concat = genotype.concat(plan.kind)
        self._ops = nn.ModuleList(
            operation(
                name, plan.channels, 2 if plan.reduction and source < 2 else 1, True
            )
            for name, source in self.pairs
        )

    def forward(self, s0, s1, drop_path):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        outputs = []
        for (_, source), op in zip(self.pairs, self._ops, strict=True):
            if len(outputs) == 2:
                states.append(sum(outputs))
                outputs = []
            output = op(states[source])
            if self.training and drop_path > 0 and not isinstance(op, nn.Identity):
                output = drop_paths(output, drop_path)
            outputs.append(output)
        states.append(sum(outputs))
        return torch.cat([states[i] for i in self.concat], 1)


class AuxiliaryHead(nn.Module):
    """The auxiliary head for states of 8x8 pixels."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, 3, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class DerivedNetwork(nn.Module):
    """The derived network.

    forward(images [N, C, H, W], drop_path) returns the logits and, in training, those
    of the auxiliary head; otherwise None.
    """

    def __init__(self, genotype: Genotype, config: NetworkConfig):
        super().__init__()
        plans, stem = cell_plan(genotype, config), 3 * config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
        )
        self.cells = nn.ModuleList(Cell(genotype, plan) for plan in plans)
        self.head_after = 2 * config.layers // 3
        if config.auxiliary:
            self.auxiliary_head = AuxiliaryHead(
                output_channels(genotype, plans[self.head_after]), config.num_classes
            )
        last = output_channels(genotype, plans[-1])
        self.classifier = nn.Linear(last, config.num_classes)

    def forward(self, images, drop_path: float = 0.0):
        older = newer = self.stem(images)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer, drop_path)
            has_head = self.training and hasattr(self, "auxiliary_head")
            if has_head and index == self.head_after:
                auxiliary = self.auxiliary_head(newer)
        return self.classifier(newer.mean((2, 3))), auxiliary
