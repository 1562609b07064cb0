# CPU:   docker build -t gan2shape .                        && docker run --rm -v "$PWD/results:/work/results" gan2shape
# CUDA:  docker build -t gan2shape:cuda --build-arg EXTRA=gpu . && docker run --rm --gpus all -v ... gan2shape:cuda
#
# JAX's CUDA wheels bring the CUDA libraries themselves, so that both images start from the same base; the host needs NVIDIA's driver
# and container toolkit. The arguments of `docker run` after the image's name are those of gan2shape-jax.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
COPY . /source
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels /source

FROM python:${PYTHON}-slim
# '' for CPU, gpu for NVIDIA GPUs, tpu for Google TPUs: the extra of setup.cfg
ARG EXTRA=""
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[photo${EXTRA:+,$EXTRA}]" && rm -r /wheels \
    && useradd --create-home runner && mkdir -p /work/results && chown -R runner /work
USER runner
WORKDIR /work
VOLUME /work/results
ENTRYPOINT ["gan2shape-jax"]
CMD ["--config=people"]
