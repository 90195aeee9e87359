# The app with the CUDA libraries that torch brings: `docker build -t captioner .`, see docs/remote.md.
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE}

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/captioner
COPY requirements.txt ./
RUN pip install -r requirements.txt

# EXTRAS=[ray] makes an image for the nodes of a Ray cluster.
ARG EXTRAS=
COPY pyproject.toml README.md LICENSE ./
COPY captioner captioner
RUN pip install ".${EXTRAS}" && rm -rf build ./*.egg-info

# Writable for every user, so that `--user` can name the owner of the media. Ubuntu's own user has the number 1000.
RUN if getent passwd 1000; then userdel --remove "$(getent passwd 1000 | cut -d: -f1)"; fi \
    && useradd --create-home --uid 1000 captioner \
    && install -d -m 1777 /state /models /media
ENV CAPTIONER_STATE=/state CAPTIONER_ROOTS=/media HF_HOME=/models
VOLUME ["/state", "/models"]
WORKDIR /media
USER 1000

EXPOSE 7860
# Only where the page is served, and never through a proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m \
    CMD ["python", "-c", "import urllib.request as r; b'serve' not in open('/proc/1/cmdline', 'rb').read().split(b'\\0') or r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:7860/', timeout=8)"]
CMD ["captioner", "serve", "/media", "--listen", "--port", "7860"]
