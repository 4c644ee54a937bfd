"""Captions and subtitles: every format that sources come in, read into cues; cues written as WebVTT. Pure."""
