from __future__ import annotations

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
