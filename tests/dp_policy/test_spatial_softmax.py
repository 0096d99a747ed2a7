from __future__ import annotations

import numpy as np
import torch
from dp_policy.spatial_softmax import SpatialSoftmax, expected_coordinates


def test_a_peak_is_found_where_it_is() -> None:
    heat = torch.zeros(1, 3, 5, 9)
    heat[0, 0, 0, 8] = 50.0  # top right
    heat[0, 1, 4, 0] = 50.0  # bottom left
    heat[0, 2, 2, 2] = 50.0
    expected = torch.tensor([[[1.0, -1.0], [-1.0, 1.0], [-0.5, 0.0]]])
    torch.testing.assert_close(expected_coordinates(heat), expected, atol=1e-4, rtol=0)


def test_two_equal_peaks_give_their_middle() -> None:
    heat = torch.full((1, 1, 3, 5), -50.0)
    heat[0, 0, 0, 0] = heat[0, 0, 0, 4] = 0.0
    torch.testing.assert_close(expected_coordinates(heat), torch.tensor([[[0.0, -1.0]]]), atol=1e-5, rtol=0)


def test_module_interleaves_x_and_y() -> None:
    layer = SpatialSoftmax(2, 2)
    with torch.no_grad():
        layer.maps.weight.copy_(torch.eye(2)[:, :, None, None] * 50)
    features = torch.zeros(1, 2, 3, 3)
    features[0, 0, 0, 2] = features[0, 1, 2, 1] = 1.0
    torch.testing.assert_close(layer(features), torch.tensor([[1.0, -1.0, 0.0, 1.0]]), atol=1e-4, rtol=0)


def test_module_is_that_of_robomimic() -> None:
    """Robomimic's formula step by step: numpy grid, temperature 1, mean x and mean y of one map after another."""
    torch.manual_seed(0)
    layer = SpatialSoftmax(6, 4)
    features = torch.randn(3, 6, 5, 7) * 4
    heat = torch.nn.functional.conv2d(features, layer.maps.weight, layer.maps.bias)
    pos_x, pos_y = np.meshgrid(np.linspace(-1.0, 1.0, 7), np.linspace(-1.0, 1.0, 5))
    points = []
    for maps in heat.reshape(12, 35):
        attention = torch.exp(maps - maps.max())
        attention = attention / attention.sum()
        for positions in (pos_x, pos_y):
            points.append((torch.from_numpy(positions.reshape(35)).float() * attention).sum())
    torch.testing.assert_close(layer(features), torch.stack(points).view(3, 8), atol=1e-5, rtol=0)
