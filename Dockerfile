# rrtcp, the program of rr2025/cmd/rr: a RoadRunner v2025.1 that has just the plugin tcp, beside php-cli. From the checkout's root:
#
#     docker build -t rrtcp .
#     docker run --rm -p 7777:7777 rrtcp                       # an echo server
#     docker run --rm -p 7777:7777 -v "$PWD:/app" rrtcp        # your .rr.yaml, worker and vendor folder
#
# examples/velox has a Dockerfile for a RoadRunner with other plugins, too.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
RUN scripts/build-release.sh /out "${TARGETOS:-linux}/${TARGETARCH:-$(go env GOARCH)}" && mv /out/rrtcp_*/rrtcp /usr/bin/rrtcp

FROM php:8.3-cli
# spiral/goridge asks for this extension.
RUN docker-php-ext-install sockets
COPY --from=build /usr/bin/rrtcp /usr/bin/rrtcp
COPY examples/docker/.rr.yaml /app/.rr.yaml
WORKDIR /app
EXPOSE 7777
STOPSIGNAL SIGTERM
USER www-data
ENTRYPOINT ["rrtcp"]
CMD ["serve"]
