"""The boundary between the halves: typed messages over unix sockets, and nothing else.

`sign.sock` takes `Confirm`, `IssueTimestamp` and `Health`. `admin.sock` takes `Act` (an operator's command with
the operator's own code), `Bootstrap` and `Health`. A frame is a four-byte big-endian length and MessagePack; what
does not fit a message's type exactly is refused before anything else happens.
"""
