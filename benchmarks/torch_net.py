"""Implements the search network in torch, as its papers describe it.

The derived network (torch_derived.py) uses the same operations, with a scale and a
shift in its norms (`affine`).

There is one module per operation, edges run one after another, and tensors are NCHW.
Parameter names are those of the DARTS family, so that `interop.supernet_from_torch`
reads them. The package does not use this file.

Dims: N images, E edges, K primitives.
"""

import torch
from torch import nn
from torch.nn import functional

from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.space import SPACES


def depthwise(channels: int, side: int, stride: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        channels,
        side,
        stride,
        dilation * (side - 1) // 2,
        dilation,
        groups=channels,
        bias=False,
    )


def pointwise(fan_in: int, fan_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)


def norm(channels: int, affine: bool) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=affine)


class SepConv(nn.Module):
    def __init__(self, channels, side, stride, affine):
        super().__init__()
        parts = []
        for step in (stride, 1):
            parts += [
                nn.ReLU(),
                depthwise(channels, side, step),
                pointwise(channels, channels),
                norm(channels, affine),
            ]
        self.op = nn.Sequential(*parts)

    def forward(self, x):
        return self.op(x)


class DilConv(nn.Module):
    def __init__(self, channels, side, stride, affine):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            depthwise(channels, side, stride, 2),
            pointwise(channels, channels),
            norm(channels, affine),
        )

    def forward(self, x):
        return self.op(x)


class FactorizedReduce(nn.Module):
    def __init__(self, fan_in, fan_out, affine=False):
        super().__init__()
        self.conv_1 = pointwise(fan_in, fan_out // 2, 2)
        self.conv_2 = pointwise(fan_in, fan_out // 2, 2)
        self.bn = norm(fan_out, affine)

    def forward(self, x):
        x = functional.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


class ReLUConvBN(nn.Module):
    def __init__(self, fan_in, fan_out, affine=False):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(), pointwise(fan_in, fan_out), norm(fan_out, affine)
        )

    def forward(self, x):
        return self.op(x)


def operation(name: str, channels: int, stride: int, affine: bool = False) -> nn.Module:
    """One primitive of an edge, without a norm after pooling, as in EG-NAS."""
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "skip_connect":
        if stride == 1:
            return nn.Identity()
        return FactorizedReduce(channels, channels, affine)
    kind, side = name[:3], int(name[-1])
    return {"sep": SepConv, "dil": DilConv}[kind](channels, side, stride, affine)


class MixedOp(nn.Module):
    def __init__(self, primitives, channels, stride, k):
        super().__init__()
        self.k, self.active, self.stride = k, channels // k, stride
        self._ops = nn.ModuleList(
            operation(name, self.active, stride) for name in primitives
        )

    def forward(self, x, weights):
        active, bypass = x[:, : self.active], x[:, self.active :]
        mixed = sum(w * op(active) for w, op in zip(weights, self._ops, strict=True))
        if self.k == 1:
            return mixed
        if self.stride == 2:
            bypass = functional.max_pool2d(bypass, 2, 2)
        joined = torch.cat([mixed, bypass], 1)
        images, channels, height, width = joined.shape
        groups = joined.view(images, self.k, channels // self.k, height, width)
        return groups.transpose(1, 2).reshape(images, channels, height, width)


class Cell(nn.Module):
    def __init__(self, space, plan, k):
        super().__init__()
        older, newer = plan.inputs
        first = FactorizedReduce if plan.reduced_before else ReLUConvBN
        self.preprocess0 = first(older, plan.channels)
        self.preprocess1 = ReLUConvBN(newer, plan.channels)
        self.edges, self.num_nodes = space.edges, space.num_nodes
        self._ops = nn.ModuleList(
            MixedOp(
                space.primitives,
                plan.channels,
                2 if plan.reduction and source < 2 else 1,
                k,
            )
            for source, _ in space.edges
        )

    def forward(self, s0, s1, weights):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for node in range(2, 2 + self.num_nodes):
            states.append(
                sum(
                    self._ops[e](states[source], weights[e])
                    for e, (source, target) in enumerate(self.edges)
                    if target == node
                )
            )
        return torch.cat(states[2:], 1)


class SearchNetwork(nn.Module):
    """The supernet; forward(images [N, C, H, W], mixing: cell kind -> [E, K])."""

    def __init__(self, config: SupernetConfig, image_channels: int = 3):
        super().__init__()
        space, plans = SPACES[config.space], cells_of(config)
        stem = config.stem_multiplier * config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
        )
        self.kinds = [plan.kind for plan in plans]
        self.cells = nn.ModuleList(
            Cell(space, plan, config.partial_channels) for plan in plans
        )
        width = plans[-1].channels * space.num_nodes
        self.classifier = nn.Linear(width, config.num_classes)

    def forward(self, images, mixing):
        older = newer = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            older, newer = newer, cell(older, newer, mixing[kind])
        return self.classifier(newer.mean((2, 3)))
