"""Keys that never leave the device.

This package knows PKCS#11 and nothing of documents or people. Everything outside speaks to it through `Device`
(`hsm/device.py`); `algorithms` and `errors` are pure and may be imported by anyone.
"""
