"""The sync.toml that comes with a rendered benchmark."""

from sync_demo.plan import EGO_VIEW, LABEL_FPS, VIEWS

_EXTRACT = """\
[extract]
fps = 10
"""

_TRAIN = """\
[train]
"""


def project_text() -> str:
    """Text of sync.toml: dataset, views, store, and each stage's settings for frames this small."""
    views = "\n".join(f'[views.{view}]\nkind = "{"ego" if view == EGO_VIEW else "exo"}"\n' for view in VIEWS)
    return (
        f'[dataset]\nkind = "folder"\nroot = "."\nlabel_fps = {LABEL_FPS}\n\n{views}\n'
        f'[store]\npath = "features.zarr"\n\n{_EXTRACT}\n{_TRAIN}'
    )
