"""Makes an authority and a certificate by it for the test servers. Usage: certificates.py DIR."""

import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def build(name, issuer, signer, key, extensions):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(signer, hashes.SHA256())


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write(path, *pieces):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if path.endswith(".key") else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)


def main():
    (directory,) = sys.argv[1:]
    authority, server = common_name("ftpfs test authority"), common_name("localhost")
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = build(authority, authority, authority_key, authority_key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
    # The last is the far side of the link that scripts/bench makes.
    addresses = [ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "10.99.0.2")]
    names = [x509.DNSName("localhost")] + [x509.IPAddress(address) for address in addresses]
    leaf = build(server, authority, authority_key, server_key, [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
    ])
    pem = serialization.Encoding.PEM
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write(f"{directory}/ca.pem", root.public_bytes(pem))
    write(f"{directory}/server.pem", leaf.public_bytes(pem))
    write(f"{directory}/server.key", key)


if __name__ == "__main__":
    main()
