"""Marks in picture and sound by which a rendition's frames can be told from one another."""

MARKS_VIDEO = ""  # filters of ffmpeg that draw into a master's picture
MARKS_AUDIO = ""  # … and into its sound
