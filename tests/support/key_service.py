"""A key service that speaks CPIX as SPEKE 2.0 does, on loopback: plain or encrypted answers, a PSSH of its own, faults."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from uuid import UUID

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID
from lxml import etree

from taskengine.domain.keys import SYSTEM_IDS
from taskengine.media.pssh import Pssh

CPIX, PSKC = "{urn:dashif:org:cpix}", "{urn:ietf:params:xml:ns:keyprov:pskc}"
ENC, DS = "{http://www.w3.org/2001/04/xmlenc#}", "{http://www.w3.org/2000/09/xmldsig#}"
_XMLENC = ENC.strip("{}")


class KeyService:
    """`async with KeyService() as service`: keys are made as they are asked for, and the same for the same id.

    It wants the header `Authorization: Bearer sesame`. A request with a recipient's certificate is answered encrypted.
    """

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.requests: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        self.spoil_codes = False
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/speke", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/speke"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if request.headers.get("Authorization") != "Bearer sesame":
            return web.Response(status=401)
        if self.status != 200:
            return web.Response(status=self.status)
        root = etree.fromstring(body)
        seal = self._seal(root)
        for element in root.iter(f"{CPIX}ContentKey"):
            kid = str(element.get("kid"))
            key = self.keys.setdefault(kid, os.urandom(16))
            secret = etree.SubElement(etree.SubElement(element, f"{CPIX}Data"), f"{PSKC}Secret")
            if seal is None:
                etree.SubElement(secret, f"{PSKC}PlainValue").text = base64.b64encode(key).decode()
            else:
                seal.add(secret, key)
        for system in root.iter(f"{CPIX}DRMSystem"):
            self._fill(system)
        return web.Response(body=etree.tostring(root), content_type="application/xml")

    def _fill(self, system: etree._Element) -> None:
        kid = str(system.get("kid"))
        if (box := system.find(f"{CPIX}PSSH")) is not None and system.get("systemId") == str(SYSTEM_IDS["widevine"]):
            data = b"of the service for " + UUID(kid).bytes
            box.text = base64.b64encode(Pssh(SYSTEM_IDS["widevine"], data=data).to_bytes()).decode()
        if (uri := system.find(f"{CPIX}URIExtXKey")) is not None:
            uri.text = base64.b64encode(f"https://service.example/{kid}".encode()).decode()

    def _seal(self, root: etree._Element) -> _Seal | None:
        certificate = root.find(f".//{DS}X509Certificate")
        if certificate is None:
            return None
        recipient = x509.load_der_x509_certificate(base64.b64decode(certificate.text or "")).public_key()
        assert isinstance(recipient, rsa.RSAPublicKey)
        delivery = root.find(f".//{CPIX}DeliveryData")
        assert delivery is not None
        return _Seal(delivery, recipient, spoil=self.spoil_codes)


class _Seal:
    """Encrypts as CPIX says: a document key and a key of codes for the recipient, the content keys by these."""

    def __init__(self, delivery: etree._Element, recipient: rsa.RSAPublicKey, *, spoil: bool) -> None:
        self._key, self._code, self._spoil = os.urandom(32), os.urandom(64), spoil
        document = etree.SubElement(delivery, f"{CPIX}DocumentKey", Algorithm=f"{_XMLENC}aes256-cbc")
        secret = etree.SubElement(etree.SubElement(document, f"{CPIX}Data"), f"{PSKC}Secret")
        _add_cipher(etree.SubElement(secret, f"{PSKC}EncryptedValue"), "rsa-oaep-mgf1p", _for(recipient, self._key))
        code = etree.SubElement(
            delivery, f"{CPIX}MACMethod", Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha512"
        )
        _add_cipher(etree.SubElement(code, f"{CPIX}Key"), "rsa-oaep-mgf1p", _for(recipient, self._code))

    def add(self, secret: etree._Element, key: bytes) -> None:
        """A content key."""
        vector = os.urandom(16)
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(vector)).encryptor()
        cipher = vector + encryptor.update(key + bytes(15) + b"\x10") + encryptor.finalize()
        _add_cipher(etree.SubElement(secret, f"{PSKC}EncryptedValue"), "aes256-cbc", cipher)
        code = hmac.digest(self._code, cipher + (b"x" if self._spoil else b""), "sha512")
        etree.SubElement(secret, f"{PSKC}ValueMAC").text = base64.b64encode(code).decode()


def _for(recipient: rsa.RSAPublicKey, key: bytes) -> bytes:
    return recipient.encrypt(key, OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None))


def _add_cipher(parent: etree._Element, algorithm: str, cipher: bytes) -> None:
    etree.SubElement(parent, f"{ENC}EncryptionMethod", Algorithm=f"{_XMLENC}{algorithm}")
    data = etree.SubElement(parent, f"{ENC}CipherData")
    etree.SubElement(data, f"{ENC}CipherValue").text = base64.b64encode(cipher).decode()


def make_recipient(folder: Path) -> tuple[Path, Path]:
    """(private key, certificate) in PEM files."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "packager")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "recipient.key", folder / "recipient.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths[0].write_bytes(private)
    paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return paths
