"""CPIX documents (DASH-IF, version 2.3, in the profile of SPEKE 2.0): asking, reading, stripping, joining.

Parsed without entities, DTD and network.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from lxml import etree

from taskengine.domain.keys import PIXELS, SYSTEM_IDS, ContentKey, KeyFault, Label, parse_key_id

CPIX = "urn:dashif:org:cpix"
PSKC = "urn:ietf:params:xml:ns:keyprov:pskc"
XMLENC = "http://www.w3.org/2001/04/xmlenc#"
XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"
VERSION = "2.3"
_NAMES = {"cpix": CPIX, "pskc": PSKC, "enc": XMLENC, "ds": XMLDSIG}
_SCHEMES = {"cenc": "cenc", "cbcs": "cbcs", "aes": "AES-128"}
_LISTS = ("ContentKeyList", "DRMSystemList", "ContentKeyPeriodList", "ContentKeyUsageRuleList")
_URI = re.compile(r'\bURI="([^"]+)"')


class CpixFault(ValueError):
    """A document that is no CPIX document, or lacks what is needed. The message never has a key."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A key as an encrypted document has it: the algorithm's URI, the cipher's bytes, and their authentication code."""

    algorithm: str
    cipher: bytes
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """What keys of a document are encrypted with, encrypted itself for one recipient; and the key of the codes."""

    key: Sealed
    mac_key: Sealed | None


@dataclass(frozen=True, slots=True)
class Document:
    """What a document says. `plain` and `sealed`: key id → key. `pssh`: key id → boxes. `uris`: system → key id → URI."""

    plain: Mapping[bytes, bytes] = field(repr=False)
    sealed: Mapping[bytes, Sealed] = field(repr=False)
    document_keys: Sequence[DocumentKey]
    pssh: Mapping[bytes, Sequence[bytes]]
    uris: Mapping[str, Mapping[bytes, str]]


def _name(prefix: str, tag: str) -> str:
    return f"{{{_NAMES[prefix]}}}{tag}"


def build(
    content_id: str, scheme: str, systems: Sequence[str], tracks: Mapping[Label, bytes], labels: Mapping[Label, str],
    certificate: bytes | None = None,
) -> bytes:  # fmt: skip
    """A document without keys: the ids by label, the systems wanted, and which track is for which key.

    `labels`: what the key of each label is called (ALL, VIDEO, SD …); `certificate`: DER, for whom keys are to be encrypted.
    """
    root = etree.Element(_name("cpix", "CPIX"), nsmap={"cpix": CPIX, "pskc": PSKC, "ds": XMLDSIG})
    root.set("contentId", content_id)
    root.set("version", VERSION)
    if certificate:
        _add_recipient(root, certificate)
    ids = list(dict.fromkeys(tracks.values()))
    keys = _add(root, "ContentKeyList")
    for key_id in ids:
        _add(keys, "ContentKey", kid=str(UUID(bytes=key_id)), commonEncryptionScheme=_SCHEMES[scheme])
    _add_systems(_add(root, "DRMSystemList"), scheme, systems, ids)
    rules = _add(root, "ContentKeyUsageRuleList")
    for name in dict.fromkeys(labels.values()):
        of = [label for label, shared in labels.items() if shared == name]
        _add_rule(rules, name, of, str(UUID(bytes=tracks[of[0]])))
    return _bytes(root)


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, _name("cpix", tag), attributes)


def _add_recipient(root: etree._Element, certificate: bytes) -> None:
    delivery = _add(_add(_add(root, "DeliveryDataList"), "DeliveryData"), "DeliveryKey")
    data = etree.SubElement(delivery, _name("ds", "X509Data"))
    etree.SubElement(data, _name("ds", "X509Certificate")).text = base64.b64encode(certificate).decode()


def _add_systems(parent: etree._Element, scheme: str, systems: Sequence[str], ids: Iterable[bytes]) -> None:
    for key_id in ids:
        for system in systems or [name for name in (scheme,) if name in SYSTEM_IDS]:
            wanted = _add(parent, "DRMSystem", kid=str(UUID(bytes=key_id)), systemId=str(SYSTEM_IDS[system]))
            if system in {"fairplay", "aes"}:
                _add(wanted, "HLSSignalingData", playlist="media")
                _add(wanted, "URIExtXKey")
            else:
                _add(wanted, "PSSH")


def _add_rule(parent: etree._Element, name: str, labels: Sequence[Label], kid: str) -> None:
    """The rule of one key: its tracks' type, and the filters that tell them."""
    rule = _add(parent, "ContentKeyUsageRule", kid=kid, intendedTrackType=name)
    pictures = [PIXELS[label] for label in labels if label is not Label.AUDIO]
    if pictures:
        limits = {"minPixels": min(least for least, _ in pictures)} if name in Label.__members__ else {}
        most = [most for _, most in pictures]
        if name in Label.__members__ and most[0] is not None:
            limits["maxPixels"] = most[0]
        _add(rule, "VideoFilter", **{key: str(value) for key, value in limits.items()})
    if Label.AUDIO in labels:
        _add(rule, "AudioFilter")


def _root(data: bytes) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, remove_comments=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise CpixFault(f"it is not XML: {error.msg}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise CpixFault("it has a document type, which CPIX has not")
    if root.tag != _name("cpix", "CPIX"):
        raise CpixFault(f"its root is {root.tag}, not a CPIX document")
    return root


def read(data: bytes) -> Document:
    """Read an answer. Raises CpixFault."""
    root = _root(data)
    plain: dict[bytes, bytes] = {}
    sealed: dict[bytes, Sealed] = {}
    for element in root.iterfind("cpix:ContentKeyList/cpix:ContentKey", _NAMES):
        key_id = _kid(element)
        if (value := element.find("cpix:Data/pskc:Secret/pskc:PlainValue", _NAMES)) is not None:
            plain[key_id] = _decoded(value, "a content key")
        elif (secret := element.find("cpix:Data/pskc:Secret", _NAMES)) is not None:
            sealed[key_id] = _sealed(secret, "a content key")
    document_keys = [_document_key(each) for each in root.iterfind("cpix:DeliveryDataList/cpix:DeliveryData", _NAMES)]
    pssh: dict[bytes, list[bytes]] = {}
    uris: dict[str, dict[bytes, str]] = {}
    for key_id, system, element in _systems(root):
        if (box := element.find("cpix:PSSH", _NAMES)) is not None and box.text:
            pssh.setdefault(key_id, []).append(_decoded(box, "a PSSH"))
        if uri := _uri(element):
            uris.setdefault(system, {})[key_id] = uri
    return Document(plain, sealed, [key for key in document_keys if key], pssh, uris)


def _systems(root: etree._Element) -> Iterator[tuple[bytes, str, etree._Element]]:
    known = {str(system_id): name for name, system_id in SYSTEM_IDS.items()}
    for element in root.iterfind("cpix:DRMSystemList/cpix:DRMSystem", _NAMES):
        if system := known.get(element.get("systemId", "").lower()):
            yield _kid(element), system, element


def _kid(element: etree._Element) -> bytes:
    try:
        return parse_key_id(element.get("kid", ""), "its kid")
    except KeyFault as error:
        raise CpixFault(f"{etree.QName(element).localname}: {error}") from error


def _decoded(element: etree._Element, what: str) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CpixFault(f"{what} in it is not base64") from error


def _sealed(secret: etree._Element, what: str) -> Sealed:
    cipher = secret.find(".//enc:CipherData/enc:CipherValue", _NAMES)
    method = secret.find(".//enc:EncryptionMethod", _NAMES)
    if cipher is None or method is None:
        raise CpixFault(f"{what} in it has neither a plain nor an encrypted value")
    mac = secret.find("pskc:ValueMAC", _NAMES)
    return Sealed(method.get("Algorithm", ""), _decoded(cipher, what), None if mac is None else _decoded(mac, what))


def _document_key(delivery: etree._Element) -> DocumentKey | None:
    secret = delivery.find("cpix:DocumentKey/cpix:Data/pskc:Secret", _NAMES)
    if secret is None:
        return None
    code = delivery.find("cpix:MACMethod/cpix:Key", _NAMES)
    return DocumentKey(_sealed(secret, "a document key"), None if code is None else _sealed(code, "a key of codes"))


def _uri(element: etree._Element) -> str | None:
    """Where players of HLS get the key: by itself, or in the lines for a playlist."""
    if (uri := element.find("cpix:URIExtXKey", _NAMES)) is not None and uri.text:
        return _decoded(uri, "a key URI").decode(errors="replace")
    for lines in element.iterfind("cpix:HLSSignalingData", _NAMES):
        if lines.text and (found := _URI.search(_decoded(lines, "HLS signalling").decode(errors="replace"))):
            return found[1]
    return None


def without_keys(data: bytes) -> bytes:
    """The document without its keys, plain and encrypted."""
    root = _root(data)
    for element in [
        *root.iterfind(".//cpix:ContentKey/cpix:Data", _NAMES),
        *root.iterfind("cpix:DeliveryDataList", _NAMES),
    ]:
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
    return _bytes(root)


def joined(documents: Sequence[bytes]) -> bytes:
    """One document of several about the same content: the lists of all of them."""
    root, *others = [_root(each) for each in documents]
    for other in others:
        for name in _LISTS:
            for children in other.iterfind(f"cpix:{name}", _NAMES):
                own = root.find(f"cpix:{name}", _NAMES)
                if own is None:
                    root.append(children)
                else:
                    own.extend(list(children))
    return _bytes(root)


def _bytes(root: etree._Element) -> bytes:
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def labels_of(keys: Mapping[Label, ContentKey]) -> Mapping[Label, str]:
    """What the key of each label is called."""
    return {label: key.label for label, key in keys.items()}
