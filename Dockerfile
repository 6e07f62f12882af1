# Builds the daemon and nothing else; settings and LND's files are mounted under /config.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# What the node says it runs: git rev-parse HEAD, which this build cannot ask.
ARG MOSTROD_COMMIT=unknown
RUN cargo xtask bootstrap && cargo build --release --locked --package mostrod

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /config mostrod \
    && install --directory --owner mostrod --mode 0700 /config
COPY --from=build /source/target/release/mostrod /usr/local/bin/mostrod
USER mostrod
VOLUME /config
ENTRYPOINT ["mostrod", "-d", "/config"]
