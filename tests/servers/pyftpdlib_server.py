"""The pyftpdlib test server: one user, one directory; with a certificate and its key it demands TLS.

Usage: pyftpdlib_server.py ADDRESS PORT LOW-HIGH|any ROOT USER PASSWORD [CERTIFICATE KEY].
"""

# What the standard library would import while serving, when it is too late (see the end of main).
import _strptime  # noqa: F401
import encodings.idna  # noqa: F401
import logging
import os
import pwd
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


def main():
    address, port, passive, root, user, password, *tls = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)

    authorizer = DummyAuthorizer()
    authorizer.add_user(user, password, root, perm="elradfmwMT")

    base = FTPHandler
    if tls:
        from pyftpdlib.handlers import TLS_FTPHandler as base

    class Handler(base):
        use_sendfile = True
        permit_foreign_addresses = False

    Handler.authorizer = authorizer
    if passive != "any":
        low, high = map(int, passive.split("-"))
        Handler.passive_ports = range(low, high + 1)
    if tls:
        Handler.certfile, Handler.keyfile = tls
        Handler.tls_control_required = Handler.tls_data_required = True
        # While the key can still be read.
        Handler.ssl_context = Handler.get_ssl_context()
    # One asynchronous loop: what pyftpdlib runs by default.
    server = FTPServer((address, int(port)), Handler)
    server.max_cons = 512
    server.max_cons_per_ip = 0
    # Last, since the user may not read the folder that this program and its modules come from.
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.umask(0o022)
    server.serve_forever()


if __name__ == "__main__":
    main()
