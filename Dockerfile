# Without a GPU:      docker build -t semalign .
# With an NVIDIA GPU: docker build -t semalign:cuda --build-arg TORCH_BACKEND=cuda .
# Run:                docker run --rm -it -v "$PWD:/work" semalign fit --config my/cold_start.yaml
#                     with --gpus all for the second; --shm-size 2g if data.init_args.workers is above 0
FROM python:3.12-slim

ARG TORCH_BACKEND=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HF_HOME=/work/.hf

WORKDIR /opt/semalign
COPY constraints.txt ./
# torch first: what follows keeps this build. pip's own comes with CUDA; the driver is the host's.
RUN version=$(sed -n 's/^torch==//p' constraints.txt) \
    && if [ "$TORCH_BACKEND" = cpu ]; \
       then pip install --index-url https://download.pytorch.org/whl/cpu "torch==$version"; \
       else pip install --constraint constraints.txt torch; fi
COPY pyproject.toml README.md LICENSE MANIFEST.in ./
COPY configs configs
COPY semalign_pl semalign_pl
RUN pip install --constraint constraints.txt ".[excel,tibetan]" \
    && semalign --version

RUN useradd --create-home --uid 1000 semalign && mkdir /work && chown semalign /work
USER semalign
WORKDIR /work
ENTRYPOINT ["semalign"]
CMD ["--help"]
