# Three images of this project, one a target; each holds packages and no weights but the detector of `mine`:
#
#     python3.11 -m pip wheel --no-deps --wheel-dir dist .
#     docker build --target train --tag openmulan-train .      # train, evaluate, embed, fit the filter of sentences
#     docker build --target pages --tag openmulan-pages .      # mulan label, mulan search
#     docker build --target mine --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/openmulan .    # Dataflow's workers
#
# docs/containers.md says how they are run; `make test-image` builds all three and runs them so.

ARG BEAM_VERSION=2.77.0

FROM python:3.11-slim AS base
# Another index for torch, such as PyTorch's own of its CPU build (docs/install.md).
ARG TORCH_INDEX=
COPY constraints.txt dist/openmulan-*.whl /tmp/openmulan/
RUN test -z "${TORCH_INDEX}" || python -m pip install --no-cache-dir --index-url "${TORCH_INDEX}" -c /tmp/openmulan/constraints.txt torch
# What is read and written lies in /data, caches too, which whoever runs the image brings; no user needs to be known here.
RUN install -d -m 1777 /data
ENV HOME=/data USER=mulan
WORKDIR /data
ENTRYPOINT ["mulan"]

FROM base AS train
ARG EXTRAS=evaluate,embed,lf
RUN python -m pip install --no-cache-dir -c /tmp/openmulan/constraints.txt "$(ls /tmp/openmulan/*.whl)[${EXTRAS}]"
USER 1000:1000
CMD ["train", "--help"]

FROM base AS pages
ARG EXTRAS=label,search
RUN python -m pip install --no-cache-dir -c /tmp/openmulan/constraints.txt "$(ls /tmp/openmulan/*.whl)[${EXTRAS}]"
USER 1000:1000
EXPOSE 8765 8766
CMD ["search", "serve", "--help"]

# What Dataflow's workers run: Beam's own image of its SDK, and in it what a mining worker needs.
FROM apache/beam_python3.11_sdk:${BEAM_VERSION} AS mine
# For sentences that are judged on the workers (--lf_model) `mine,litert,gcs,lf`: that has torch, 5 GB.
ARG EXTRAS=mine,litert,gcs
COPY constraints.txt dist/openmulan-*.whl /tmp/openmulan/
RUN python -m pip install --no-cache-dir -c /tmp/openmulan/constraints.txt "$(ls /tmp/openmulan/*.whl)[${EXTRAS}]"
# The music detector, yamnet.tflite with its class map; the launcher names it by the path that it has in the image.
COPY models /models
RUN python -c "from filters.music.load import load_detector; print(load_detector('/models/yamnet.tflite').digest)"
