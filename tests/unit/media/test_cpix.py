"""CPIX documents: what is asked for, what is read, what is kept."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest
from lxml import etree

from taskengine.domain.keys import Label
from taskengine.media import cpix
from taskengine.media.cpix import CpixFault

NS = {"cpix": cpix.CPIX, "pskc": cpix.PSKC}
KIDS = {Label.SD: b"\x01" * 16, Label.HD: b"\x02" * 16, Label.AUDIO: b"\x03" * 16}
LABELS = {label: label.value for label in KIDS}
EXAMPLE = """<?xml version="1.0"?>
<cpix:CPIX contentId="film" version="2.3" xmlns:cpix="urn:dashif:org:cpix" xmlns:pskc="urn:ietf:params:xml:ns:keyprov:pskc">
 <cpix:ContentKeyList>
  <cpix:ContentKey kid="98ee5596-cd3e-a20d-163a-e382420c6eff" commonEncryptionScheme="cbcs">
   <cpix:Data><pskc:Secret><pskc:PlainValue>AAECAwQFBgcICQoLDA0ODw==</pskc:PlainValue></pskc:Secret></cpix:Data>
  </cpix:ContentKey>
 </cpix:ContentKeyList>
 <cpix:DRMSystemList>
  <cpix:DRMSystem kid="98ee5596-cd3e-a20d-163a-e382420c6eff" systemId="edef8ba9-79d6-4ace-a3c8-27dcd51d21ed">
   <cpix:PSSH>AAAAMnBzc2g=</cpix:PSSH></cpix:DRMSystem>
  <cpix:DRMSystem kid="98ee5596-cd3e-a20d-163a-e382420c6eff" systemId="94CE86FB-07FF-4F43-ADB8-93D2FA968CA2">
   <cpix:HLSSignalingData playlist="media">{line}</cpix:HLSSignalingData></cpix:DRMSystem>
  <cpix:DRMSystem kid="98ee5596-cd3e-a20d-163a-e382420c6eff" systemId="ffffffff-79d6-4ace-a3c8-27dcd51d21ed"/>
 </cpix:DRMSystemList>
</cpix:CPIX>"""


def example(line: str = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://their-uri",KEYFORMAT="x"') -> bytes:
    """A key service's answer."""
    return EXAMPLE.replace("{line}", base64.b64encode(line.encode()).decode()).encode()


def test_a_request_names_keys_systems_and_which_tracks_they_are_for() -> None:
    """A document of version 2.3 with filters by pixels; keys are asked for, never given."""
    root = etree.fromstring(cpix.build("film", "cbcs", ["fairplay", "widevine"], KIDS, LABELS))
    assert (root.get("contentId"), root.get("version")) == ("film", "2.3")
    keys = root.findall("cpix:ContentKeyList/cpix:ContentKey", NS)
    assert [key.get("kid") for key in keys] == [str(UUID(bytes=kid)) for kid in KIDS.values()]
    assert {key.get("commonEncryptionScheme") for key in keys} == {"cbcs"}
    systems = root.findall("cpix:DRMSystemList/cpix:DRMSystem", NS)
    assert len(systems) == 6
    assert [etree.QName(child).localname for child in systems[0]] == ["HLSSignalingData", "URIExtXKey"]
    assert [etree.QName(child).localname for child in systems[1]] == ["PSSH"]
    rules = {rule.get("intendedTrackType"): rule for rule in root.iter(f"{{{cpix.CPIX}}}ContentKeyUsageRule")}
    assert rules["SD"][0].items() == [("minPixels", "0"), ("maxPixels", "442368")]
    assert rules["HD"][0].items() == [("minPixels", "442369"), ("maxPixels", "2073600")]
    assert [etree.QName(child).localname for child in rules["AUDIO"]] == ["AudioFilter"]


def test_a_key_for_all_tracks_has_both_filters_without_limits() -> None:
    """One key, asked for once."""
    ids = dict.fromkeys(KIDS, b"\x09" * 16)
    root = etree.fromstring(cpix.build("film", "cenc", ["cenc"], ids, dict.fromkeys(KIDS, "ALL")))
    assert len(root.findall("cpix:ContentKeyList/cpix:ContentKey", NS)) == 1
    [rule] = root.iter(f"{{{cpix.CPIX}}}ContentKeyUsageRule")
    assert [(etree.QName(child).localname, dict(child.attrib)) for child in rule] == [
        ("VideoFilter", {}),
        ("AudioFilter", {}),
    ]


def test_an_answer_is_read() -> None:
    """The key, the boxes of systems that are known, and the URI out of the lines for a playlist."""
    document = cpix.read(example())
    kid = UUID("98ee5596-cd3e-a20d-163a-e382420c6eff").bytes
    assert document.plain == {kid: bytes(range(16))}
    assert document.pssh == {kid: [base64.b64decode("AAAAMnBzc2g=")]}
    assert document.uris == {"fairplay": {kid: "skd://their-uri"}}


def test_what_is_kept_has_no_keys() -> None:
    """All else stays; several documents become one."""
    kept = cpix.without_keys(example())
    assert b"AAECAwQFBgcICQoLDA0ODw==" not in kept
    assert cpix.read(cpix.without_keys(example())).uris == cpix.read(example()).uris
    both = etree.fromstring(cpix.joined([kept, cpix.build("film", "cenc", [], KIDS, LABELS)]))
    assert len(both.findall("cpix:ContentKeyList", NS)) == 1
    assert len(both.findall("cpix:ContentKeyList/cpix:ContentKey", NS)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "not XML"),
        ("<a/>", "not a CPIX document"),
        ('<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>', "document type"),
        (example().decode().replace("98ee5596-cd3e-a20d-163a-e382420c6eff", "98ee"), "kid must be 32 hex digits"),
        (example().decode().replace("AAECAwQFBgcICQoLDA0ODw==", "***"), "a content key in it is not base64"),
        (example().decode().replace("pskc:PlainValue", "pskc:Other"), "neither a plain nor an encrypted value"),
    ],
)
def test_a_document_that_is_wrong_says_what_is(text: str, message: str) -> None:
    """Entities and document types are never followed."""
    with pytest.raises(CpixFault, match=message):
        cpix.read(text.encode())
