"""libcurl's errors as ours (curl.se/libcurl/c/libcurl-errors.html)."""

from __future__ import annotations

import pycurl

from rushes.client.http import MAX_REPLY, place
from rushes.errors import Misconfigured, Problem, Unavailable

_CONNECTION = {
    pycurl.E_COULDNT_CONNECT: ("network_refused", "No server answers at {place}."),
    pycurl.E_COULDNT_RESOLVE_HOST: ("network_dns", "The name in {place} cannot be resolved."),
    pycurl.E_COULDNT_RESOLVE_PROXY: ("network_proxy", "The name of the proxy before {place} cannot be resolved."),
    pycurl.E_OPERATION_TIMEDOUT: ("network_timeout", "{place} did not answer in time."),
    pycurl.E_SSL_CONNECT_ERROR: ("network_tls", "The TLS connection to {place} could not be made."),
}
_SETUP = {
    pycurl.E_URL_MALFORMAT: ("url_invalid", "{place} is not a usable address."),
    pycurl.E_UNSUPPORTED_PROTOCOL: ("url_invalid", "{place} is not an http or https address."),
    pycurl.E_PEER_FAILED_VERIFICATION: (
        "tls_untrusted",
        "The certificate of {place} is not trusted. Point SSL_CERT_FILE at a bundle with its authority.",
    ),
    pycurl.E_SSL_CACERT_BADFILE: (
        "tls_bundle_unreadable",
        "The certificate bundle that SSL_CERT_FILE names cannot be read.",
    ),
}


def reply_too_large(url: str) -> Unavailable:
    return Unavailable("reply_too_large", f"{place(url)} answered with more than {MAX_REPLY} bytes.")


def translated(error: pycurl.error, url: str) -> Problem:
    number, text = int(error.args[0]), str(error.args[1])
    if number == pycurl.E_FILESIZE_EXCEEDED:
        return reply_too_large(url)
    if number in _SETUP:
        code, message = _SETUP[number]
        return Misconfigured(code, message.format(place=place(url)), curl=text)
    code, message = _CONNECTION.get(number, ("network_broken", "The connection to {place} broke."))
    return Unavailable(code, message.format(place=place(url)), curl=text)
