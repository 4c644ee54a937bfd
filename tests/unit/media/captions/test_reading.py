"""Caption files of every format and character set, read into cues; broken ones refused by their line."""

from __future__ import annotations

import pytest

from taskengine.media.captions import reading, vtt
from taskengine.media.captions.cues import HOUR, CaptionFault, Captions, Cue, fitted, payload, without_hours

TTML = """<?xml version="1.0"?>
<tt xmlns="{namespace}" xmlns:tts="{namespace}#styling" xmlns:ttp="{namespace}#parameter" ttp:frameRate="25"
 ttp:tickRate="1000" xml:lang="de">
<head><styling><style xml:id="s" tts:fontStyle="italic" tts:color="#FFFF00"/></styling>
<layout><region xml:id="up" tts:origin="10% 5%" tts:extent="80% 10%"/></layout></head>
<body begin="1s"><div begin="10s">
<p region="up" begin="00:00:01:05" dur="2s">a &amp; &lt;b<br/><span style="s">c</span> <span begin="1s">d</span></p>
<p begin="5000t" end="6000t" tts:textAlign="right">  e
 f  </p><p>for ever</p></div></body></tt>"""


def test_subrip_is_read_as_players_read_it() -> None:
    """Styles are kept, what is no style is text, places become settings, blank lines do not end a cue."""
    text = (
        "\ufeff1\r\n00:00:01,000 --> 00:00:02,5\r\n<I>a</I> {\\an8}& <laughs> <font color=red>b</font>\r\n\r\nstill\r\n"
        "\r\n2\r\n1:02.250 --> 00:01:03.000 X1:5\r\n3 < 4 --> &amp; &#8364;\r\n\r\n"
    )
    assert reading.read(text.encode(), "srt").cues == [
        Cue(1000, 2500, "<i>a</i> &amp; &lt;laughs&gt; b\nstill", "line:0"),
        Cue(62_250, 63_000, "3 &lt; 4 --&gt; &amp; &#8364;"),
    ]


def test_webvtt_keeps_styles_settings_and_markup() -> None:
    """Notes and unknown settings go; a bare ampersand is escaped."""
    text = (
        "WEBVTT - about\nLanguage: en-GB\n\nSTYLE\n::cue { color: red }\n\nNOTE\nnothing\n\n"
        "id\n00:01.000 --> 01:00:02.000 line:0 odd:1 align:left\n<v Bob>x <00:00:01.500>& y < z\n"
    )
    found = reading.read(text.encode(), "vtt")
    assert found.cues == [Cue(1000, HOUR + 2000, "<v Bob>x <00:00:01.500>&amp; y &lt; z", "line:0 align:left")]
    assert (found.language, found.blocks) == ("en-GB", ["STYLE\n::cue { color: red }"])
    assert vtt.read(vtt.write(found)).cues == found.cues


@pytest.mark.parametrize(
    "namespace", ["http://www.w3.org/ns/ttml", "http://www.w3.org/2006/10/ttaf1", "http://www.w3.org/2006/04/ttaf1"]
)
def test_ttml_of_every_year_is_read(namespace: str) -> None:
    """Frames, ticks and offsets within one another; styles by reference; what comes later within a paragraph."""
    found = reading.read(TTML.format(namespace=namespace).encode(), "dfxp")
    assert found.language == "de"
    assert [(cue.start, cue.text, cue.settings) for cue in found.cues] == [
        (11_000, "for ever", ""),
        (12_200, "a &amp; &lt;b\n<c.yellow><i>c</i></c>", "line:5%"),
        (13_200, "a &amp; &lt;b\n<c.yellow><i>c</i></c> d", "line:5%"),
        (16_000, "e f", "align:right"),
    ]
    assert [cue.end for cue in fitted(found, 15_000).cues] == [15_000, 13_200, 14_200]


@pytest.mark.parametrize(
    ("text", "language", "charset"),
    [
        ("Blå bär och grädde", None, "utf-8"), ("Blå bär", None, "utf-8-sig"), ("Blå bär", None, "utf-16"),
        ("Blå bär", None, "utf-16-be"), ("Blå bär", None, "utf-32"), ("Zażółć gęślą jaźń", "pl", "cp1250"),
        ("Жизнь, щит", "ru", "cp1251"), ("Δείξη ψάξε", "el", "cp1253"), ("漢字とかな", "ja", "shift_jis"),
        ("שלום עולם", "he", "cp1255"), ("한국어 자막", "ko", "euc_kr"), ("你好,世界", "zh", "gb18030"),
        ("繁體中文字幕", "zh-TW", "big5"), ("Überraschung für Größe", "de", "cp1252"),
    ],
)  # fmt: skip
def test_character_sets_are_found(text: str, language: str | None, charset: str) -> None:
    """By marks, by zero bytes, by the language that a file is in; the log tells which it was."""
    block = f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n\n2\n00:00:03,000 --> 00:00:04,000\n{text}\n"
    found = reading.read(block.encode(charset), "srt", language)
    assert [cue.text for cue in found.cues] == [text, text]
    assert bool(found.notes) is not charset.startswith("utf-8")


def test_a_character_set_of_an_unknown_language_is_guessed() -> None:
    """From enough text of it."""
    line = "Съешь же ещё этих мягких французских булок да выпей чаю, и всё будет хорошо"
    block = "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{line}\n\n" for n in range(1, 9))
    assert reading.read(block.encode("cp1251"), "srt").cues[0].text == line


@pytest.mark.parametrize(
    ("content", "extension", "message"),
    [
        ("hello\n", "srt", "line 1: it has no cue"), ("", "srt", "it has no cue"),
        ("x\n\n1\n00:00:01,000 --> 00:00:02,000\ny", "srt", "line 1: it is no cue: 'x'"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n\n2\n00:00:0x --> 00:00:04,000\ny", "srt", "line 6: its times"),
        ("1\n00:00:05,000 --> 00:00:02,000\nx", "srt", "line 2: its cue ends before it begins"),
        ("1\n00:75:05,000 --> 00:76:02,000\nx", "srt", "line 2: its times cannot be read: there are no 75 minutes"),
        ("WEBVTTX\n", "vtt", "line 1: it does not begin"), ("WEBVTT\n\nid\nx\n", "vtt", "line 3: it is no cue: 'id'"),
        ("WEBVTT\n\n00:02.000 --> 00:01.000\nx\n", "vtt", "line 3: its cue ends before it begins"),
        ("<tt>\n<body><p begin='x'>a</p></body></tt>", "ttml", "line 2: its time cannot be read: 'x'"),
        ("<html/>", "ttml", "line 1: its root is 'html'"), ("<tt/>", "ttml", "it has no text"),
        ("Scenarist\n", "scc", "line 1: it does not begin"), ("Scenarist_SCC V1.0\n\n00:00:01:31\t9420", "scc", "line 3: there is"),
        ("Scenarist_SCC V1.0\n\nx 9420", "scc", "line 3: it cannot be read"),
    ],
)  # fmt: skip
def test_a_broken_file_has_one_fault_with_its_line(content: str, extension: str, message: str) -> None:
    """What is wrong, and where."""
    with pytest.raises(CaptionFault, match=f"^{message.replace('(', '[(]')}"):
        reading.read(content.encode(), extension)


def test_no_document_reads_other_files() -> None:
    """Entities of XML are not resolved."""
    document = (
        '<!DOCTYPE tt [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        '<tt xmlns="http://www.w3.org/ns/ttml"><body><p begin="0s" end="1s">a&x;b</p></body></tt>'
    )
    assert [cue.text for cue in reading.read(document.encode(), "ttml").cues] == ["ab"]


def test_whole_hours_are_taken_off_where_nothing_else_would_be_shown() -> None:
    """Programmes begin at one or at ten; what lies within the asset stays as it is."""
    captions = Captions([Cue(10 * HOUR + 500, 10 * HOUR + 900, "x")])
    assert without_hours(captions, 2000).cues == [Cue(500, 900, "x")]
    assert without_hours(captions, 11 * HOUR) == captions
    assert without_hours(captions, 200) == captions


def test_cues_are_moved_with_the_times_in_them_and_cut_at_the_ends() -> None:
    """A time stamp within a cue is one of the same clock."""
    captions = Captions([Cue(0, 900, "a"), Cue(1000, 2000, "b <00:00:01.500>c"), Cue(9000, 9500, "d")])
    found = fitted(captions, 2400, 500)
    assert found.cues == [Cue(500, 1400, "a"), Cue(1500, 2400, "b <00:00:02.000>c")]
    assert "1 of its 3 cues" in found.notes[0]


def test_the_map_of_times_is_replaced_and_taken_away() -> None:
    """It ties a file to one packaging."""
    text = vtt.write(Captions([Cue(0, 900, "a")]))
    mapped = vtt.mapped(vtt.mapped(text, 0.0), 0.1)
    assert mapped.splitlines()[:2] == ["WEBVTT", "X-TIMESTAMP-MAP=MPEGTS:9000,LOCAL:00:00:00.000"]
    assert vtt.unmapped(mapped) == text


def test_a_payload_has_no_blank_line() -> None:
    """It would end the cue."""
    assert payload("a\n\n  \n<br/>b") == "a\nb"
