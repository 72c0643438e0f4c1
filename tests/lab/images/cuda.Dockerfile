# Stand-in for nvidia/cuda:TAG: the vendor's environment variables on Debian 12 (not Ubuntu), with no Python, and with
# no CUDA library whatsoever. It proves what a Dockerfile does, never that a GPU computes.
FROM cog-lab/bookworm AS runtime
RUN apt-get update -qq \
    && apt-get install -qqy --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
ARG CUDA
ENV NVARCH=x86_64 \
    CUDA_VERSION=${CUDA} \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA=cuda>=${CUDA} \
    PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64

FROM runtime AS devel
RUN mkdir -p /usr/local/cuda/bin \
    && printf '#!/bin/sh\necho "nvcc: stand-in of the lab"\necho "Cuda compilation tools, release %s"\n' "${CUDA_VERSION%.*}" >/usr/local/cuda/bin/nvcc \
    && chmod +x /usr/local/cuda/bin/nvcc
