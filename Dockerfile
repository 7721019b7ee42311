# A static weft and nothing else. `make image` compiles weft and makes the
# context: the binary, and /var/run as the name of /run that it is on hosts.
# deploy/container says how to run it.
FROM scratch
COPY . /
ENV SSL_CERT_DIR=/host/etc/ssl/certs:/host/etc/pki/tls/certs
ENTRYPOINT ["/weft"]
CMD ["serve"]
