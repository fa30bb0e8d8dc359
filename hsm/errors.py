"""What can go wrong at the device, as six kinds. Pure: anyone may import.

```
DeviceError
├── DeviceUnavailable   away, hung, restarted, logged out: it may come back by itself
├── DeviceBusy          our own queue before the device is full; nothing was asked of it
├── KeyNotFound         token and login are known to be good and the key is not there
├── PinRejected         the PIN was wrong; it is never tried twice, for tokens that lock
├── Unsupported         this module cannot do what was asked; `doctor` names what is missing
└── Tampered            a MAC does not fit: somebody changed, moved or brought back a row or a sealed secret
```

Messages name the cause and the remedy and never contain a PIN, a seed or a key.
"""


class DeviceError(Exception):
    """Anything the device could not do."""


class DeviceUnavailable(DeviceError):
    """The device did not answer within its deadline, or answered that it is away.

    After this error it is *unknown* whether a signature under way was made: the reply may have been lost.
    """


class DeviceBusy(DeviceError):
    """Too many calls wait already. Nothing was sent to the device."""


class KeyNotFound(DeviceError):
    """The key is not on the token, or its blob does not belong to this device."""


class PinRejected(DeviceError):
    """The device refused the PIN. Tried once only: soft tokens and cards lock after a few wrong tries."""


class Unsupported(DeviceError):
    """The module lacks a mechanism, a key size or a slot that was asked for."""


class Tampered(DeviceError):
    """A row's MAC or a sealed secret does not fit. The device is well; the data is not ours."""
