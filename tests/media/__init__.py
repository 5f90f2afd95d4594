"""Tests of media/: real decoders, real sandboxes, files made here."""
