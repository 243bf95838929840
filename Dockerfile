# The images of cohortsync: worker (the last stage, hence the default), brazesim
# and loadgen. Each is one static binary on nothing.
#
#   docker build --target worker --build-arg VERSION="$(git describe --tags --always)" -t cohortsync .
#
# Both BuildKit and the builder of older engines take this file.

# A machine without the public registry names a local image with the same Go.
ARG GO_IMAGE=golang:1.26.8-bookworm

FROM ${GO_IMAGE} AS build
# Where modules come from, for networks that have a proxy of their own.
ARG GOPROXY
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# timetzdata: TZ alone does not lead Go to a zoneinfo.zip, and an image without
# /usr/share/zoneinfo would silently log in UTC. The binary has them inside.
RUN go build -trimpath -tags timetzdata -ldflags "-s -w -X main.version=${VERSION}" \
      -o /out/ ./cmd/worker ./cmd/brazesim ./cmd/loadgen \
 && mv /out/worker /out/cohortsync && mkdir /out/data \
 && go clean -cache # It would be most of this stage's size.

# What the three have in common: authorities for TLS, and a user who is nobody.
FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS brazesim
LABEL org.opencontainers.image.title="cohortsync-brazesim" \
      org.opencontainers.image.description="A simulated Braze, for trials and load tests of cohortsync"
COPY --from=build /out/brazesim /brazesim
# Others are the ones to reach it here; --healthcheck reads the same variable.
ENV BRAZESIM_LISTEN=:8081
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/brazesim", "--healthcheck"]
ENTRYPOINT ["/brazesim"]

FROM base AS loadgen
LABEL org.opencontainers.image.title="cohortsync-loadgen" \
      org.opencontainers.image.description="Writes cohort membership changes to Kafka, and checks where they have led"
COPY --from=build /out/loadgen /loadgen
# For --expected: a volume here takes over the folder's owner.
COPY --from=build --chown=65532:65532 /out/data /data
ENTRYPOINT ["/loadgen"]

FROM base AS worker
LABEL org.opencontainers.image.title="cohortsync" \
      org.opencontainers.image.description="Keeps Braze cohorts in step with a Kafka log"
COPY --from=build /out/cohortsync /cohortsync
ENV COHORTSYNC_CONFIG=/etc/cohortsync/cohortsync.yaml
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/cohortsync", "healthcheck"]
ENTRYPOINT ["/cohortsync"]
CMD ["run"]
