# A static weft and nothing else. Build it with
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t weft .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
        -ldflags "-s -w -X main.version=${VERSION}" -o /out/weft ./cmd/weft

FROM scratch
# For a Consul behind TLS whose certificate a public authority has signed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/weft /weft
ENTRYPOINT ["/weft"]
CMD ["serve"]
