# Stand-in for python:3.11-slim-bookworm on a machine without pyenv: Debian 12's own Python, under the vendor's names.
FROM cog-lab/bookworm
RUN apt-get update -qq \
    && apt-get install -qqy --no-install-recommends ca-certificates netbase tzdata python3 python3-venv python3-pip \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/lib/python3*/EXTERNALLY-MANAGED \
    && for name in python3 python3.11 pip3; do ln -s /usr/bin/$name /usr/local/bin/$name; done \
    && ln -s python3 /usr/local/bin/python && ln -s pip3 /usr/local/bin/pip
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
