# -*- test-case-name: txpika.test.test_tls -*-
"""
L{TLSOptions} for Twisted: pyOpenSSL's objects out of them, and errors of ours out of pyOpenSSL's.

Owns what makes a TLS connection safe: the lowest version, who may vouch for the broker, and that its certificate is for
the host that was dialled. Imported only where TLS is used, as pyOpenSSL is optional. Knows no frame.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

import idna
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, platformTrust, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from txpika.exceptions import TLSError, TLSVerifyError
from txpika.interfaces import ITransport
from txpika.tls import TLSOptions

#: What OpenSSL's results of verifying mean (openssl-verification-options(1), x509_vfy.h), the common ones.
_PROBLEMS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and not among the trusted ones",
    19: "is vouched for by an authority that is not among the trusted ones",
    20: "is vouched for by an authority that is not among the trusted ones",
    21: "is vouched for by nobody who is trusted",
    23: "was revoked",
    26: "is not for a TLS server",
    66: "has a key that is too weak",
    67: "is vouched for by an authority whose key is too weak",
    68: "is signed in a way that is too weak",
}
#: What OpenSSL says when what came is no TLS.
_NO_TLS = ("wrong version number", "http request", "unknown protocol", "packet length too long", "bad record type")
#: What OpenSSL 3.2 and later say behind such a reason, and what says nothing.
_WITHOUT_MEANING = ("", "record layer failure")


@implementer(IOpenSSLClientConnectionCreator)
class ConnectionCreator:
    """
    Makes the TLS side of one connection.

    Name and chain are verified during the handshake, by OpenSSL's call back: when a peer is not who it should be, the
    handshake fails, and nothing that was written leaves.

    @ivar problem: What was wrong with the peer's certificate; empty as long as nothing was.
    """

    def __init__(self, options: TLSOptions, host: str) -> None:
        """
        @param host: The host that is dialled, by name or by address.
        @raise TLSError: when a file cannot be used, or C{host} cannot be in a certificate.
        """
        self.problem = ""
        self._verify = options.verify
        self._name = (options.server_name or host).partition("%")[0].rstrip(".")
        try:
            ip_address(self._name)
            self._ascii = ""
        except ValueError:
            try:
                self._ascii = (
                    self._name if self._name.isascii() else idna.encode(self._name, uts46=True).decode("ascii")
                )
            except idna.IDNAError as error:
                raise TLSError(f"{self._name!r} is no host name a certificate could be for: {error}") from error
        self._context = _context(options)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """@return: A new TLS connection, which says whom it wants unless that is an address (RFC 6066 section 3)."""
        connection = SSL.Connection(self._context, None)
        if self._ascii:
            connection.set_tlsext_host_name(self._ascii.encode("ascii"))
        if self._verify:
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._accept)
        return connection

    def _accept(self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, fine: int) -> bool:
        """
        OpenSSL asks about one certificate of the chain, the peer's own at depth 0 being the last. Whatever goes wrong
        in here is a no.
        """
        try:
            if not fine:
                which = "certificate of the broker" if not depth else "authority above the certificate of the broker"
                self.problem = f"the {which} {_PROBLEMS.get(code, f'was not accepted (OpenSSL verify error {code})')}"
                return False
            return depth > 0 or self._names_host(certificate)
        except Exception as error:
            self.problem = f"the certificate of the broker cannot be checked: {type(error).__name__}"
            return False

    def _names_host(self, certificate: crypto.X509) -> bool:
        try:
            if self._ascii:
                verify_certificate_hostname(certificate.to_cryptography(), self._ascii)
            else:
                verify_certificate_ip_address(certificate.to_cryptography(), self._name)
        except Exception as error:
            self.problem = f"the certificate of the broker is not for {self._name!r}"
            if not isinstance(error, VerificationError):
                self.problem += f": {error}"
            return False
        return True


@implementer(ITransport)
class SecureTransport:
    """
    A TLS connection as the engine's transport.

    Twisted's TLS does not close as long as a producer is registered with it. Whoever closes a connection that is not
    his, as C{ClientService} does when it is stopped, would wait for ever; with TCP he does not. So the producer is
    registered below TLS, where the bytes pile up.
    """

    def __init__(self, transport: TLSMemoryBIOProtocol) -> None:
        self.write = transport.write
        self.loseConnection = transport.loseConnection
        self.abortConnection = transport.abortConnection
        below: Any = transport.transport
        self.pauseProducing = below.pauseProducing
        self.resumeProducing = below.resumeProducing
        self.registerProducer = below.registerProducer
        self.unregisterProducer = below.unregisterProducer


def transport_of(transport: Any) -> Any:
    """@return: C{transport}, as the engine is to see it."""
    return SecureTransport(transport) if isinstance(transport, TLSMemoryBIOProtocol) else transport


def _context(options: TLSOptions) -> SSL.Context:
    more: dict[str, Any] = {}
    if options.verify:
        more["trustRoot"] = platformTrust() if options.cafile is None else _authorities(options.cafile)
    if options.certfile is not None:
        more.update(_own(options))
    try:
        context: SSL.Context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, **more).getContext()
    except SSL.Error as error:
        raise TLSError(f"certfile and keyfile do not belong together: {said(error)}") from error
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    return context


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TLSError(f"{name} {path!r} cannot be read: {error.strerror}") from error


def _unusable(name: str, path: str, what: str, error: Exception) -> NoReturn:
    raise TLSError(f"{name} {path!r} {what}") from error


def _authorities(path: str) -> Any:
    try:
        found = load_pem_x509_certificates(_read("cafile", path))
    except ValueError as error:
        _unusable("cafile", path, "holds no certificates in PEM", error)
    return trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(each)) for each in found])


def _own(options: TLSOptions) -> dict[str, Any]:
    """@return: This program's certificate, those after it, and the key, as arguments of C{CertificateOptions}."""
    certfile = options.certfile or ""
    name, keyfile = ("certfile", certfile) if options.keyfile is None else ("keyfile", options.keyfile)
    try:
        certificates = load_pem_x509_certificates(_read("certfile", certfile))
    except ValueError as error:
        _unusable("certfile", certfile, "holds no certificate in PEM", error)
    secret = options.keyfile_password
    pem = _read(name, keyfile)
    try:
        key: Any = load_pem_private_key(pem, None if secret is None else secret.reveal().encode())
        pkey = crypto.PKey.from_cryptography_key(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # TypeError: a password is missing, or needless.
        _unusable(name, keyfile, "holds no key in PEM, or one for another keyfile_password", error)
    finally:
        del pem  # tracebacks may show what is in a name
    mine, *above = (crypto.X509.from_cryptography(each) for each in certificates)
    return {"certificate": mine, "extraCertChain": above, "privateKey": pkey}


def said(error: SSL.Error) -> str:
    """@return: What OpenSSL said, for a reader."""
    queue = error.args[0] if error.args else None
    reasons = [each[-1] for each in queue if each[-1] not in _WITHOUT_MEANING] if isinstance(queue, list) else []
    return reasons[-1] if reasons else str(error) or type(error).__name__


def explained(reason: BaseException, problem: str = "", unfinished: bool = False) -> BaseException:
    """
    What it means that a TLS connection has ended.

    @param reason: What its transport said.
    @param problem: What was found wrong with the peer's certificate.
    @param unfinished: It is known that the TLS handshake had not come to its end.
    @return: A L{TLSError} where it is about TLS, else C{reason}.
    """
    if isinstance(reason, TLSError):
        return reason
    if isinstance(reason, VerificationError) or problem:
        return _caused(TLSVerifyError(problem or "the certificate of the broker is for another host"), reason)
    if isinstance(reason, SSL.Error):
        text = said(reason)
        if "certificate verify failed" in text:
            return _caused(TLSVerifyError("the certificate of the broker was not accepted"), reason)
        if text in _NO_TLS:
            return _caused(TLSError(f"the peer does not speak TLS, is it a port for amqp://? ({text})"), reason)
        return _caused(TLSError(f"TLS failed: {text}"), reason)
    if unfinished:
        return _caused(TLSError(f"the peer hung up during the TLS handshake, does it speak TLS? ({reason})"), reason)
    return reason


def _caused(error: TLSError, reason: BaseException) -> TLSError:
    error.initiator = "network"
    error.__cause__ = reason
    return error
