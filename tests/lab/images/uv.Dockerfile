# Stand-in for ghcr.io/astral-sh/uv:VERSION: the static binaries of uv's own musllinux wheel, where the vendor has them.
FROM scratch
COPY --from=wheel uv uvx /
WORKDIR /io
ENTRYPOINT ["/uv"]
