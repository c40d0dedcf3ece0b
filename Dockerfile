# Two images: the extraction job (the default, needs a GPU to be fast) and the trainer, which has no video
# reader and no backbone.
#
#   docker build -t sync-extract .
#   docker build -t sync-train --target train .
#
#   docker run --gpus all -v /data/lab:/project sync-extract --view e4
#   docker run --gpus all -v /data/lab:/project sync-train
#
# Volumes:
#   /project  the folder of sync.toml: videos and labels are read there, features and runs written. The user
#             `app` has the id 1000; add --user "$(id -u):$(id -g)" where the folder is somebody else's.
#   /cache    weights from the Hugging Face hub, kept between runs; not needed with --weights.
#
# torch's wheels bring the CUDA libraries and decord's its own FFmpeg, so a slim Python image is enough; the
# host needs the NVIDIA driver and container toolkit only.

FROM python:3.11-slim-bookworm AS source
WORKDIR /source
COPY pyproject.toml ./
# The dependencies as lists, so that a change of our code doesn't install torch again.
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], sep='\n', file=open('train.txt', 'w')); \
extras = project['optional-dependencies']; \
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
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS dependencies
ENV PYTHONUNBUFFERED=1 \
    HF_HOME=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY constraints.txt /constraints.txt
RUN --mount=type=bind,from=source,source=/source/train.txt,target=/train.txt \
    pip install --no-cache-dir -c /constraints.txt -r /train.txt \
    && useradd --uid 1000 --create-home app \
    && install -d -o app -g app /cache /project

FROM dependencies AS train
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
USER app
WORKDIR /project
ENTRYPOINT ["sync-train"]

FROM dependencies AS extract
RUN --mount=type=bind,from=source,source=/source/extract.txt,target=/extract.txt \
    pip install --no-cache-dir -c /constraints.txt -r /extract.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
USER app
WORKDIR /project
ENTRYPOINT ["sync-extract"]
