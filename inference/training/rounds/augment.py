"""Random turns, stretches, bends, noise and HU drift for batches of plane triplets."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf


@dataclass(frozen=True, slots=True)
class Batch:
    """`images` (n, 3, row, column) HU; `voxels` (n, row, column), `labels` (n, 6), `depth_mm` (n,): as TrainingHead."""

    images: torch.Tensor
    voxels: torch.Tensor
    labels: torch.Tensor
    depth_mm: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(each.to(device) for each in (self.images, self.voxels, self.labels, self.depth_mm)))


def _warp(count: int, rows: int, columns: int, rng: np.random.Generator) -> torch.Tensor:
    """Sampling grid (n, row, column, 2) of random affine and elastic warps, half of them mirrored."""
    angles = np.deg2rad(rng.normal(0, 6, count))
    zoom = np.exp(rng.normal(0, 0.07, (2, count)))
    mirror = rng.choice([-1.0, 1.0], count)
    aspect = rows / columns
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = np.cos(angles) * zoom[0] * mirror
    theta[:, 0, 1] = np.sin(angles) * zoom[0] * aspect
    theta[:, 1, 0] = -np.sin(angles) * zoom[1] / aspect * mirror
    theta[:, 1, 1] = np.cos(angles) * zoom[1]
    theta[:, :, 2] = rng.normal(0, 0.03, (count, 2))
    grid = nnf.affine_grid(torch.from_numpy(theta), [count, 1, rows, columns], align_corners=False)
    bend = torch.from_numpy(rng.normal(0, 0.02, (count, 2, 6, 5)).astype(np.float32))
    return grid + nnf.interpolate(bend, (rows, columns), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def augment(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch, changed at random on the device where it lies; voxels move with their images."""
    count, _, rows, columns = batch.images.shape
    device = batch.images.device
    luck = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    grid = _warp(count, rows, columns, rng).to(device)
    images = nnf.grid_sample(batch.images + 1024, grid, mode="bilinear", align_corners=False) - 1024
    # at the border voxels repeat: a plane whose voxels are unknown must not get a rim that counts as known
    drawn = batch.voxels[:, None].float()
    voxels = nnf.grid_sample(drawn, grid, mode="nearest", padding_mode="border", align_corners=False)[:, 0]

    def per_item(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]

    images = images * per_item(rng.normal(1, 0.03, count)) + per_item(rng.normal(0, 2, count))
    strength = per_item(rng.uniform(0, 5, count) * (rng.random(count) < 0.5))
    images = images + strength * torch.randn(images.shape, generator=luck, device=device)
    blurred = nnf.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, blurred, per_item(rng.uniform(0, 1, count) * (rng.random(count) < 0.4)))
    for i in np.flatnonzero(rng.random(count) < 0.1):
        images[i] = images[i].flip(0)
    depth = batch.depth_mm + per_item(rng.normal(0, 6, count)).flatten()
    return Batch(images, voxels.to(torch.uint8), batch.labels, depth)
