#!/bin/sh
# Makes the certificates of tests/bridge/certificates.rs anew. They are worth nothing anywhere else: their keys are public.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 36500 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}
# NAME AUTHORITY EXTENSIONS
signed() {
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf '%s\n' "basicConstraints=CA:FALSE" "$3" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.pem"
}
authority first-authority
authority second-authority
signed server first-authority "subjectAltName=IP:127.0.0.1,DNS:localhost
extendedKeyUsage=serverAuth"
signed first-client first-authority extendedKeyUsage=clientAuth
signed second-client second-authority extendedKeyUsage=clientAuth
# Nobody needs to sign anything more.
rm -f ./*.csr ./*.ext ./*.srl first-authority.key second-authority.key
