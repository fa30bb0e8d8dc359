"""The terminal: what operators and administrators type.

One file per noun, one function per command: it reads what was typed, asks one use case or the signer, and shows
the answer. `--json` shows the same as one JSON object for programs; exit codes are those of `exits.py`. An act that
matters is one message to the signer with the operator's own one-time code, and on record.
"""
