#!/bin/sh
# Makes the signatures of this directory anew: OpenSSL's, over a root hash, by a key that nobody keeps.
set -e
cd "$(dirname "$0")"
key=$(mktemp)
trap 'rm -f "$key"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$key" -out signer.crt -days 36500 -subj "/CN=signer"
printf %s 00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef >content
for kind in attributes bare; do
    case $kind in
        bare) words=-noattr ;;
        attributes) words= ;;
    esac
    openssl smime -sign -binary -nocerts $words -md sha256 -in content -signer signer.crt -inkey "$key" -outform DER -out $kind.p7s
done
