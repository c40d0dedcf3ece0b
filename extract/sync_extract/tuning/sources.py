"""Videos of recordings and the network to start from, as both ways of training need them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sync_extract.backbones.base import weights_digest
from sync_extract.backbones.resnet_tsm import ResNetTSM, random_tsm
from sync_extract.backbones.tsm import DEMO, PRESETS, RANDOM_DEMO, RANDOM_DEMO_SEED, RANDOM_DEMO_WIDTH
from sync_extract.backbones.tsm_checkpoint import TsmInfo, read_tsm
from sync_extract.decode import DECODE_RULES_VERSION
from sync_extract.transforms import PREPROCESSING_RULES_VERSION, Preprocessing
from sync_extract.tuning.config import TuningConfig
from sync_store.datasets import Dataset, VideoSource
from sync_store.errors import NoVideoError, SyncError


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The network that training begins with, with shifts, on the processor."""

    network: ResNetTSM
    info: TsmInfo
    preprocessing: Preprocessing

    @property
    def inputs(self) -> dict[str, Any]:
        """What of it decides a result, as JSON values."""
        return {
            "start": weights_digest(self.network),
            "preprocessing": {**asdict(self.preprocessing), "rules": PREPROCESSING_RULES_VERSION},
            "decode_rules": DECODE_RULES_VERSION,
        }


def open_start(config: TuningConfig, preset: str | None) -> Start:
    """Read the weights that a config names.

    Args:
        config: Backbone and weights.
        preset: Preprocessing, of `PRESETS`; None for the one that the weights state, else "official".

    Raises:
        SyncError: If the weights can't be had or aren't a TSM.
    """
    is_demo = config.backbone == RANDOM_DEMO
    if config.weights is not None:
        read = read_tsm(config.weights)
        network, info = read.build("window8"), read.info
    elif is_demo:
        network = random_tsm(width=RANDOM_DEMO_WIDTH, shift="window8", seed=RANDOM_DEMO_SEED)
        info = TsmInfo(trained_on=())
    else:
        raise SyncError(
            "TSM needs weights to start from: give a checkpoint with --weights, such as EPIC-KITCHENS-100's "
            "tsm_rgb.ckpt"
        )
    stated = info.preset if info.preset in PRESETS else "official"
    preprocessing = DEMO if is_demo else PRESETS[preset or stated or "official"]
    return Start(network=network, info=info, preprocessing=preprocessing)


def find_videos(
    dataset: Dataset, recordings: Sequence[str], views: Sequence[str]
) -> dict[tuple[str, str], VideoSource]:
    """Videos by recording and view, in this order, without those that the dataset normally lacks.

    Raises:
        VideoError: If a video is missing that should be there.
    """
    found = {}
    for recording in recordings:
        for view in views:
            try:
                found[recording, view] = dataset.video(recording, view)
            except NoVideoError:
                continue
    return found


def describe_videos(sources: Mapping[tuple[str, str], VideoSource]) -> dict[str, dict[str, Any]]:
    """What of videos decides a result and can be told without reading them."""
    return {
        f"{view}/{recording}": {
            "file_name": source.path.name,
            "size_bytes": source.path.stat().st_size,
            "offset_seconds": str(source.offset),
            "clock": source.clock,
        }
        for (recording, view), source in sources.items()
    }


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
