"""The sync.toml that comes with a rendered benchmark."""

from sync_demo.plan import EGO_VIEW, LABEL_FPS, VIEWS

_HEAD = """\
# Rendered scenes and a backbone with random weights: this shows that the pipeline works and what the method
# does, on a small processor in minutes. It is not the paper's data, and its scores are not the paper's.
# Each comment below says where a setting departs from the paper, which takes Assembly101 and EgoExo4D,
# 30 labels a second, and the class token of DINOv2 ViT-L/14.
"""

_EXTRACT = """\
[extract]
# Paper: DINOv2 ViT-L/14. Here 4 layers of width 192 with weights from a fixed seed, never trained.
backbone = "dinov2-random-demo"
# The name in the store says so too.
feature_set = "dinov2-random-demo"
# Paper: the class token alone. Without training it says little; mean and maximum of the patches say more.
tokens = ["cls", "mean", "max"]
# Paper: 30 rows a second. Frames this small hold little more than that at 10, and cost a third.
fps = 10
# The pair that [train] uses. The other exo camera on request: sync-extract --view v4
views = ["v3", "e4"]
"""

_TRAIN = """\
[train]
"""


def project_text() -> str:
    """Text of sync.toml: dataset, views, store, and each stage's settings for frames this small."""
    views = "\n".join(f'[views.{view}]\nkind = "{"ego" if view == EGO_VIEW else "exo"}"\n' for view in VIEWS)
    dataset = f'[dataset]\nkind = "folder"\nroot = "."\nlabel_fps = {LABEL_FPS}\n'
    store = '[store]\npath = "features.zarr"\n'
    return "\n".join((_HEAD, dataset, views, store, _EXTRACT, _TRAIN))
