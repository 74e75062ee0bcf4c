# docker build -t madang . && docker run --rm -p 8080:8080 -v madang:/var/lib/madang madang
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc libc6-dev meson ninja-build pkg-config python3 nodejs npm ca-certificates \
        libssl-dev zlib1g-dev libsqlite3-dev liburing-dev libyaml-dev libjansson-dev \
        libcmocka-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund --ignore-scripts
COPY . .
RUN meson setup /build --buildtype=release && ninja -C /build madang

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        libssl3 zlib1g libsqlite3-0 liburing2 libyaml-0-2 libjansson4 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/madang --create-home madang
COPY --from=build /build/madang /usr/bin/madang
USER madang
VOLUME /var/lib/madang
EXPOSE 8080
# A page of another origin needs --allowed-origins; behind a proxy add --trusted-proxies.
ENTRYPOINT ["/usr/bin/madang"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--state", "/var/lib/madang"]
HEALTHCHECK --interval=30s --timeout=3s \
    CMD ["/usr/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
