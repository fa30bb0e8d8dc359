"""The boundary between the halves: typed messages over unix sockets, and nothing else.

`sign.sock` takes `Confirm`, `IssueTimestamp` and `Health`. `admin.sock` takes `Act` (an operator's commands with
the operator's own code), `CompleteEnrolment`, `Bootstrap` and `Health`. A frame is the length of the body and the
number of the question, four bytes big-endian each, and MessagePack; what does not fit a message's type exactly is
refused before anything else happens.
"""
