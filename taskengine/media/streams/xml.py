"""Manifests in XML, parsed without entities, DTD and network; elements by their names, whatever their namespace."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from taskengine.media.streams.model import StreamFault


def root_of(text: str) -> etree._Element:
    """The root element; StreamFault where it is no XML."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        return etree.fromstring(text.lstrip("\ufeff").encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise StreamFault(f"it is not XML: {str(error)[:200]}") from error


def name_of(element: etree._Element) -> str:
    """Its name without a namespace."""
    return etree.QName(element).localname


def children(element: etree._Element, name: str) -> Sequence[etree._Element]:
    """Its children of a name."""
    return list(element.iterchildren(f"{{*}}{name}"))


def child(element: etree._Element, name: str) -> etree._Element | None:
    """Its first child of a name."""
    return next(iter(children(element, name)), None)


def attributes(element: etree._Element) -> dict[str, str]:
    """Its attributes by their names without namespaces."""
    return {etree.QName(str(name)).localname: str(value) for name, value in element.attrib.items()}
