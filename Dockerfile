# syntax=docker/dockerfile:1
# A static binary on an image that holds certificates, a user and nothing else:
#   docker build -t tierd .
#   docker run --rm --read-only --tmpfs /run/tierd:uid=65532,gid=65532 \
#     -v "$PWD/tierd.toml:/etc/tierd/tierd.toml:ro" tierd
ARG RUST_VERSION=1.91

FROM rust:${RUST_VERSION}-alpine AS build
ARG TARGETARCH
# The TLS library's C and assembly parts want a compiler.
RUN apk add --no-cache build-base cmake perl
WORKDIR /build
COPY . .
# The registry and the compiled dependencies stay in BuildKit's caches from one build to the next: a change to the
# sources compiles only tierd. The touch is for Cargo, which goes by the time of the files: a checkout may be older
# than what the cache holds.
RUN --mount=type=cache,id=tierd-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=tierd-target-${TARGETARCH},target=/build/target,sharing=locked \
    find src config -type f -exec touch {} + \
 && cargo build --profile dist --locked --bin tierd \
 && mkdir -p /out/heartbeat \
 && cp target/dist/tierd /out/tierd

# CA certificates, an /etc/passwd with `nonroot` (65532), time zones; no shell, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tierd /tierd
# Where [telemetry].heartbeat_file is.
COPY --from=build --chown=65532:65532 /out/heartbeat /run/tierd
# Where a volume is mounted here (ECS on Fargate has no tmpfs for all), it takes over the owner from the image.
VOLUME ["/run/tierd"]
USER 65532:65532
STOPSIGNAL SIGTERM
# There is no shell in the image: commands must be lists.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/tierd", "healthcheck"]
ENTRYPOINT ["/tierd"]
CMD ["run"]
