"""Turns a source (bytes readable by range) into files in a job's directory: paths and streams in, files out.

source.py     what can be read: a size and byte ranges
limits.py     what one job may use
sandbox.py    the worker's half of the sandbox: what this machine offers, and running one tool or task inside
child.py      the launcher's process: started with an order, listened to, and surely gone at the end
feed.py       serves a source to the child: HTTP ranges on its listening socket, or requests on a socketpair
jail/         the child's half: namespaces, Landlock, seccomp, rlimits, then the tool (standard library only)
pair.py       the messages of that socketpair; formats.py: which containers and pictures may be opened
inside/       what runs in the child and touches users' bytes: the only code that imports av and PIL
info.py       what identify found; identify.py asks for it
ladder.py, plan.py, spans.py, commands.py   what a video gets, and the ffmpeg commands that make it: pure
cmaf.py, verify.py, played.py               whether what was made is whole
video.py, audio.py               pictures and sounds of a video; waveform, spectrogram, loudness
posters.py, sprites.py, images.py   a good frame; sheets of tiles with WebVTT; sizes of a picture
written.py, sizes.py             whether pictures came out as ordered; which sizes there are: pure
cover.py      the picture embedded in a sound file
previews.py   what of a sound file is played: plan and verification, pure
outputs.py, verify.py            what came out, and whether it is whole: pure
"""
