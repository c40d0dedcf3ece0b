"""Copies to a device and back: on a processor none are made; on a GPU they carry the same values."""

import numpy as np
import pytest
import torch

from sync_extract.transfers import Download, Uploads, empty_frames

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.mark.parametrize("name", DEVICES)
def test_values_go_there_and_back(name: str) -> None:
    """Many in a row, so that buffers are used again while others are under way."""
    device = torch.device(name)
    uploads, downloads = Uploads(device), []
    for number in range(40):
        frames = empty_frames((5, 24, 32, 3), device)
        assert frames.shape == (5, 24, 32, 3) and frames.dtype == np.uint8
        frames[:] = number
        on_device = uploads(frames)
        del frames
        assert on_device.device.type == name
        downloads.append(Download(on_device.flatten(1).half().mean(1, keepdim=True)))
    for number, download in enumerate(downloads):
        rows = download.wait()
        assert len(download) == 5 and rows.dtype == np.float16 and rows.tolist() == [[number]] * 5


@pytest.mark.parametrize("name", DEVICES)
def test_any_array_can_be_sent(name: str) -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    assert Uploads(torch.device(name))(frames).cpu().numpy().tolist() == frames.tolist()


def test_on_a_processor_nothing_is_copied() -> None:
    device = torch.device("cpu")
    frames = empty_frames((1, 2, 2, 3), device)
    assert Uploads(device)(frames).data_ptr() == frames.ctypes.data
    rows = torch.ones(2, 3, dtype=torch.float16)
    assert Download(rows).wait().ctypes.data == rows.data_ptr()
