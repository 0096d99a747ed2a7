"""The published networks in plain torch: their weight names, shapes and forward passes, independent of this project.

Each is the shortest module that has the names of the publication; nothing here imports from dp_policy.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoid(steps: Tensor, width: int) -> Tensor:
    """(B,) steps to (B, width): sines, then cosines, of rates 1 to 1/10000."""
    half = width // 2
    phase = torch.stack([steps * math.exp(-math.log(10000) * k / (half - 1)) for k in range(half)], dim=1)
    return torch.cat((torch.sin(phase), torch.cos(phase)), dim=1)


class Named(nn.Module):
    """Children under given names, for names that hold a dot-free word such as ``conv`` or ``block``."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


def conv_block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(8, outputs), nn.Mish())


class UnetBlock(nn.Module):
    """``style`` stanford: blocks.0.block, blocks.1.block; lerobot: conv1.block, conv2.block."""

    def __init__(self, inputs: int, outputs: int, condition: int, kernel: int, with_scale: bool, style: str) -> None:
        super().__init__()
        pair = [Named(block=conv_block(inputs, outputs, kernel)), Named(block=conv_block(outputs, outputs, kernel))]
        if style == "stanford":
            self.blocks = nn.ModuleList(pair)
        else:
            self.conv1, self.conv2 = pair
        self.pair = [one.block for one in pair]  # a plain list: not registered twice
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(condition, outputs * (2 if with_scale else 1)))
        self.residual_conv = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.outputs, self.with_scale = outputs, with_scale

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        film = self.cond_encoder(condition)[:, :, None]
        y = self.pair[0](x)
        y = film[:, : self.outputs] * y + film[:, self.outputs :] if self.with_scale else y + film
        return self.pair[1](y) + self.residual_conv(x)


class Unet(nn.Module):
    """Conditional 1-D U-Net; (B, T, A), (B,), (B, C) to (B, T, A)."""

    def __init__(
        self,
        action: int,
        condition: int,
        sizes: tuple[int, ...],
        steps: int,
        with_scale: bool = True,
        style: str = "stanford",
        kernel: int = 5,
    ) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> UnetBlock:
            return UnetBlock(inputs, outputs, steps + condition, kernel, with_scale, style)

        def resample(layer: nn.Module) -> nn.Module:
            return Named(conv=layer) if style == "stanford" else layer

        self.steps = steps
        self.diffusion_step_encoder = nn.Sequential(
            nn.Identity(), nn.Linear(steps, steps * 4), nn.Mish(), nn.Linear(steps * 4, steps)
        )
        top = sizes[-1]
        self.mid_modules = nn.ModuleList([block(top, top), block(top, top)])
        inputs = (action, *sizes[:-1])
        self.down_modules = nn.ModuleList()
        for low, high in zip(inputs, sizes, strict=True):
            last = nn.Identity() if high == top else resample(nn.Conv1d(high, high, 3, stride=2, padding=1))
            self.down_modules.append(nn.ModuleList([block(low, high), block(high, high), last]))
        self.up_modules = nn.ModuleList()
        for low, high in reversed(list(itertools.pairwise(sizes))):
            grow = resample(nn.ConvTranspose1d(low, low, 4, stride=2, padding=1))
            self.up_modules.append(nn.ModuleList([block(2 * high, low), block(low, low), grow]))
        first = sizes[0]
        self.final_conv = nn.Sequential(Named(block=conv_block(first, first, kernel)), nn.Conv1d(first, action, 1))

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        features = torch.cat((self.diffusion_step_encoder(sinusoid(steps, self.steps)), condition), dim=1)
        x, skips = sample.transpose(1, 2), []
        for first, second, shrink in self.down_modules:
            x = second(first(x, features), features)
            skips.append(x)
            x = getattr(shrink, "conv", shrink)(x)
        for block in self.mid_modules:
            x = block(x, features)
        for first, second, grow in self.up_modules:
            x = second(first(torch.cat((x, skips.pop()), dim=1), features), features)
            x = getattr(grow, "conv", grow)(x)
        block, out = self.final_conv
        return out(block.block(x)).transpose(1, 2)


class Transformer(nn.Module):
    """Decoder over actions with a memory of the step's token and one token per frame."""

    def __init__(self, action: int, horizon: int, features: int, history: int, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self._dummy_variable = nn.Parameter()
        self.input_emb = nn.Linear(action, width)
        self.pos_emb = nn.Parameter(torch.randn(1, horizon, width) * 0.1)
        self.cond_obs_emb = nn.Linear(features, width)
        self.cond_pos_emb = nn.Parameter(torch.randn(1, history + 1, width) * 0.1)
        self.encoder = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        layer = nn.TransformerDecoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, action)
        closed = float("-inf")
        mask = [[0.0 if past <= now else closed for past in range(horizon)] for now in range(horizon)]
        memory = [[0.0 if token <= now + 1 else closed for token in range(history + 1)] for now in range(horizon)]
        self.register_buffer("mask", torch.tensor(mask))
        self.register_buffer("memory_mask", torch.tensor(memory))

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        step = sinusoid(steps, self.width)[:, None]
        frames = condition.view(len(condition), -1, self.cond_obs_emb.in_features)
        memory = self.encoder(torch.cat((step, self.cond_obs_emb(frames)), dim=1) + self.cond_pos_emb)
        hidden = self.decoder(self.input_emb(sample) + self.pos_emb, memory, self.mask, self.memory_mask)
        return self.head(self.ln_f(hidden))


class ResNetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(outputs, norm)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(outputs, norm)
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm_layer(outputs, norm)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def norm_layer(channels: int, norm: str) -> nn.Module:
    return nn.GroupNorm(channels // 16, channels) if norm == "group" else nn.BatchNorm2d(channels)


def resnet18(norm: str = "group", named: bool = True) -> nn.Sequential:
    """The trunk up to the feature maps; children by torchvision's names, or numbered as in a Sequential."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        "bn1": norm_layer(64, norm),
        "relu": nn.ReLU(),
        "maxpool": nn.MaxPool2d(3, 2, 1),
    }
    inputs = 64
    for number, outputs in enumerate((64, 128, 256, 512), start=1):
        stride = 1 if number == 1 else 2
        pair = (ResNetBlock(inputs, outputs, stride, norm), ResNetBlock(outputs, outputs, 1, norm))
        layers[f"layer{number}"], inputs = nn.Sequential(*pair), outputs
    trunk = nn.Sequential()
    for number, (name, layer) in enumerate(layers.items()):
        trunk.add_module(name if named else str(number), layer)
    return trunk


def keypoints(maps: Tensor) -> Tensor:
    """(B, K, H, W) scores to (B, 2 K): x and y of each map's expected position in [-1, 1]."""
    batch, count, height, width = maps.shape
    share = maps.flatten(2).softmax(dim=2).view(batch, count, height, width)
    x = (share.sum(dim=2) * torch.linspace(-1, 1, width)).sum(dim=2)
    y = (share.sum(dim=3) * torch.linspace(-1, 1, height)).sum(dim=2)
    return torch.stack((x, y), dim=2).flatten(1)


def randomise(module: nn.Module, seed: int) -> None:
    """Weights and statistics away from their first values, so that every one of them shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.2, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0, generator=generator)
