"""The signer: the only process that knows the PIN.

It verifies one-time codes, spends them, writes intents, signs, checks each value against the certificate's key,
records outcomes, issues timestamps and sequences the log. It never parses a PDF, an HTTP request or a
signatory's certificate; of what operators send under their own code it parses the policy and the certificate of our own
timestamp authority. EN 419 241-1 would call this the signature activation module; ours is software beside the HSM.
"""
