# Made by cog from cog.yaml. Change that file, not this one; `cog dockerfile` prints what it comes to.
FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

# cog.yaml: build.gpu
FROM python:3.11-slim-bookworm AS base
# ARG, not ENV: every RUN below sees them, the finished image does not.
ARG DEBIAN_FRONTEND="noninteractive" \
    PIP_BREAK_SYSTEM_PACKAGES="1" \
    PIP_DISABLE_PIP_VERSION_CHECK="1" \
    PIP_ROOT_USER_ACTION="ignore" \
    UV_CACHE_DIR="/root/.cache/uv" \
    UV_LINK_MODE="copy" \
    UV_NO_PROGRESS="1"
# The first has a value only with --no-cache, the second only with SOURCE_DATE_EPOCH.
ARG COG_FRESH \
    PYC_INVALIDATION_MODE
ENV NVIDIA_DRIVER_CAPABILITIES="compute,utility" \
    NVIDIA_VISIBLE_DEVICES="all" \
    PYTHONUNBUFFERED="1"

# The server's own environment. Nothing of the model is in it, so that all images of one base share its layer.
FROM base AS server
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=cache,id=cog-uv,target=/root/.cache/uv \
    --mount=type=bind,from=cog,source=server,target=/tmp/server \
    uv venv --python /usr/local/bin/python3 /opt/cog/venv \
    && uv pip install --python /opt/cog/venv --require-hashes --only-binary :all: -r /tmp/server/requirements.lock
# The same layer on every machine: byte code that is valid whatever the time stamps, one time stamp for all, and a folder
# that is copied together with `opt` itself (which COPY would otherwise make, at the time of the build).
RUN --mount=type=bind,from=cog,source=lib,target=/tmp/lib \
    cp -r /tmp/lib /opt/cog/lib \
    && printf '%s\n' /opt/cog/lib/server /opt/cog/lib/model > "$(echo /opt/cog/venv/lib/python3*/site-packages)/cog.pth" \
    && /opt/cog/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/cog \
    && mkdir -p /layer/opt \
    && mv /opt/cog /layer/opt/cog \
    && find /layer -exec touch --no-dereference --date=@0 {} +

FROM base AS packages

# First on the path: a model that installs its own `cog` still gets this one.
COPY --link --from=server /layer /
RUN /usr/local/bin/python3 -c 'import pathlib, site; folder = pathlib.Path(site.getsitepackages()[0]); folder.mkdir(parents=True, exist_ok=True); (folder / "cog.pth").write_text("import sys; sys.path.insert(0, \"/opt/cog/lib/model\")\n")' \
    && /usr/local/bin/python3 -m compileall -q --invalidation-mode checked-hash /opt/cog/lib/model

# cog.yaml: build.python_packages
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=cache,id=cog-uv,target=/root/.cache/uv \
    --mount=type=bind,from=cog,source=requirements,target=/tmp/requirements,rw \
    ["/bin/sh", "-c", "uv --no-config --directory /tmp/requirements pip install --python /usr/local/bin/python3 --break-system-packages --compile-bytecode --no-editable --index-strategy unsafe-best-match -r .cog-packages.txt"]

# `--target freeze` gives pip_freeze.txt; nothing of it is in the model's image.
FROM packages AS frozen
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=cache,id=cog-uv,target=/root/.cache/uv \
    uv pip freeze --python /usr/local/bin/python3 > /pip_freeze.txt

FROM scratch AS freeze
COPY --from=frozen /pip_freeze.txt /

FROM packages AS model
ENV COG_EXIT_ON_DEFUNCT="1" \
    COG_GPU_NEEDS="{\"cuda\":\"12.4\",\"driver\":\"525.60.13\",\"package\":\"torch 2.6.0\",\"sm\":[\"sm_50\",\"sm_60\",\"sm_70\",\"sm_75\",\"sm_80\",\"sm_86\",\"sm_90\"]}" \
    COG_PREDICT="predict.py:Predictor" \
    COG_PYTHON="/usr/local/bin/python3"
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20m CMD ["/opt/cog/venv/bin/python", "-m", "cog_server.probe"]
ENTRYPOINT ["/opt/cog/venv/bin/dumb-init", "--single-child", "--"]
CMD ["/opt/cog/venv/bin/python", "-m", "cog_server"]
WORKDIR /src
# What the API is, for tools that read it from the image's files; before the source, which an edit makes anew.
# `cog` is a build context, not a stage.
# hadolint ignore=DL3022
COPY --link --from=cog schema /src/.cog
# The source comes last and linked: an edit makes this layer anew, and no other.
COPY --link . /src
