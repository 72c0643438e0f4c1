# Stand-in for python:3.X-slim-bookworm: Debian 12 and a CPython in /usr/local. Like the vendor's it has pip and the CA
# bundle of Debian, and has no compiler, no git, no curl.
FROM cog-lab/bookworm
RUN apt-get update -qq \
    && apt-get install -qqy --no-install-recommends ca-certificates netbase tzdata libbz2-1.0 libexpat1 libffi8 \
        liblzma5 libncursesw6 libreadline8 libsqlite3-0 libssl3 libuuid1 zlib1g \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
COPY --link --from=interpreter / /usr/local/
ARG VERSION
RUN ldconfig \
    && cd /usr/local/bin \
    && ln -sf python${VERSION} python3 && ln -sf python3 python \
    && python -m ensurepip >/dev/null 2>&1 \
    && ln -sf pip3 pip \
    && find /usr/local -name __pycache__ -prune -exec rm -r {} +
CMD ["python3"]
