"""Builds the derived network of the DARTS family in torch, as a reference for tests.

Parameter names are those of model.py. Only evaluation mode is supported, so the
auxiliary head has weights but is never run.
"""

import torch
from torch import nn


def norm_after(*parts, channels):
    return nn.Sequential(*parts, nn.BatchNorm2d(channels))


def conv(fan_in, fan_out, side=1, stride=1, padding=0, **more):
    return nn.Conv2d(fan_in, fan_out, side, stride, padding, bias=False, **more)


def depthwise(channels, side, stride, dilation=1):
    padding = dilation * (side - 1) // 2
    return conv(
        channels, channels, side, stride, padding, dilation=dilation, groups=channels
    )


class Op(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.op = nn.Sequential(*parts)

    def forward(self, x):
        return self.op(x)


def relu_conv_norm(fan_in, fan_out):
    return Op(nn.ReLU(), conv(fan_in, fan_out), nn.BatchNorm2d(fan_out))


class FactorizedReduce(nn.Module):
    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.conv_1 = conv(fan_in, fan_out // 2, stride=2)
        self.conv_2 = conv(fan_in, fan_out // 2, stride=2)
        self.bn = nn.BatchNorm2d(fan_out)

    def forward(self, x):
        x = torch.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * 0


def block(channels, side, stride, dilation):
    return (
        nn.ReLU(),
        depthwise(channels, side, stride, dilation),
        conv(channels, channels),
        nn.BatchNorm2d(channels),
    )


def primitive(name, c, stride):
    if name == "none":
        return Zero(stride)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
    if name == "conv_7x1_1x7":
        return nn.Sequential(
            nn.ReLU(),
            conv(c, c, (1, 7), (1, stride), (0, 3)),
            conv(c, c, (7, 1), (stride, 1), (3, 0)),
            nn.BatchNorm2d(c),
        )
    side = int(name[-1])
    if name.startswith("dil"):
        return Op(*block(c, side, stride, 2))
    return Op(*block(c, side, stride, 1), *block(c, side, 1, 1))


class Cell(nn.Module):
    def __init__(self, pairs, concat, reduction, fan_ins, c, reduced_before):
        super().__init__()
        first = FactorizedReduce if reduced_before else relu_conv_norm
        self.preprocess0 = first(fan_ins[0], c)
        self.preprocess1 = relu_conv_norm(fan_ins[1], c)
        self._ops = nn.ModuleList(
            primitive(name, c, 2 if reduction and source < 2 else 1)
            for name, source in pairs
        )
        self.sources, self.concat = [source for _, source in pairs], concat

    def forward(self, s0, s1):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, len(self._ops), 2):
            parts = [self._ops[j](states[self.sources[j]]) for j in (i, i + 1)]
            states.append(sum(parts))
        return torch.cat([states[node] for node in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, 3),
            conv(channels, 128),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            conv(128, 768, 2),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)


class Network(nn.Module):
    """The network of a `Genotype` and a `NetworkConfig` of the package."""

    def __init__(self, genotype, config, image_channels=3):
        super().__init__()
        c, layers, self.cifar = config.channels, config.layers, config.frame == "cifar"
        if self.cifar:
            self.stem = norm_after(conv(image_channels, 3 * c, 3, 1, 1), channels=3 * c)
            older = newer = 3 * c
        else:
            self.stem0 = nn.Sequential(
                conv(image_channels, c // 2, 3, 2, 1),
                nn.BatchNorm2d(c // 2),
                nn.ReLU(),
                conv(c // 2, c, 3, 2, 1),
                nn.BatchNorm2d(c),
            )
            self.stem1 = norm_after(nn.ReLU(), conv(c, c, 3, 2, 1), channels=c)
            older = newer = c
        self.cells, before = nn.ModuleList(), not self.cifar
        for index in range(layers):
            reduction = index in (layers // 3, 2 * layers // 3)
            c = 2 * c if reduction else c
            kind = "reduce" if reduction else "normal"
            concat = getattr(genotype, f"{kind}_concat")
            pairs = getattr(genotype, kind)
            self.cells.append(Cell(pairs, concat, reduction, (older, newer), c, before))
            older, newer, before = newer, len(concat) * c, reduction
            if index == 2 * layers // 3 and config.auxiliary:
                self.auxiliary_head = AuxiliaryHead(newer, config.num_classes)
        self.classifier = nn.Linear(newer, config.num_classes)

    def forward(self, x):
        s0 = s1 = self.stem(x) if self.cifar else self.stem0(x)
        s1 = s1 if self.cifar else self.stem1(s0)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.classifier(s1.mean(dim=(2, 3)))
