# Two images: the extraction job (the default, needs a GPU to be fast) and the trainer, which has no video
# reader and no backbone.
#
#   docker build -t sync-extract .
#   docker build -t sync-train --target train .
#
#   docker run --gpus all -v /data/lab:/project sync-extract --view e4
#   docker run --gpus all -v /data/lab:/project sync-train
#
# Folders to mount:
#   /project  the folder of sync.toml: videos and labels are read there, features and runs written. The user
#             `app` has the id 1000; add --user "$(id -u):$(id -g)" where the folder is somebody else's.
#   /cache    weights from the Hugging Face hub and what libraries keep, to have it in the next run too; not
#             needed with --weights.
#   /models   checkpoints, read-only if you like: --weights /models/dinov2-large
#
# Any user id will do, with HOME unset or not writable and the image read-only, as Slurm's containers have it:
# docs/cluster.md. With docker run --read-only, --tmpfs /tmp is needed.
#
# torch's wheels bring the CUDA libraries and decord's its own FFmpeg, so a slim Python image is enough; the
# host needs the NVIDIA driver and container toolkit only. To pin the base by its digest as well:
# --build-arg BASE=python:3.11.14-slim-bookworm@sha256:...

ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS source
WORKDIR /source
COPY pyproject.toml ./
# The dependencies as lists, so that a change of our code doesn't install torch again.
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
elsewhere = ('extract', 'import', 'demo', 'all'); \
trainer = [line for extra in extras if extra not in elsewhere for line in extras[extra]]; \
print(*project['dependencies'], *trainer, sep='\n', file=open('train.txt', 'w')); \
print(*extras['extract'], *extras['import'], sep='\n', file=open('extract.txt', 'w'))"

FROM source AS wheel
COPY README.md ./
COPY store store
COPY extract extract
COPY train train
COPY evaluate evaluate
COPY experiments experiments
COPY predict predict
COPY demo demo
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels .

FROM ${BASE} AS dependencies
ENV PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY constraints.txt /constraints.txt
COPY --from=source /source/train.txt /train.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c /constraints.txt -r /train.txt \
    && useradd --uid 1000 --create-home app \
    && install -d -m 1777 /cache /models /project

FROM dependencies AS train
COPY --from=wheel /wheels /wheels
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps /wheels/*.whl
USER app
WORKDIR /project
ENTRYPOINT ["sync-train"]

FROM dependencies AS extract
COPY --from=source /source/extract.txt /extract.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c /constraints.txt -r /extract.txt
COPY --from=wheel /wheels /wheels
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps /wheels/*.whl
USER app
WORKDIR /project
ENTRYPOINT ["sync-extract"]
