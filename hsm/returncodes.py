"""What a module's return code means to us: one table, nothing unmapped.

Codes that no version of PKCS#11 knows (CKR_VENDOR_DEFINED) arrive as a bare `PKCS11Error`; they count as "the
device is not well", which costs a reconnection and never a second signature.

`NoSuchKey` and the handle errors lie: after a log-out, or while a network token is away, a look-up finds nothing.
The caller proves that token and login are good before it repeats what this table says (`hsm/token.py`).
"""

from __future__ import annotations

import pkcs11.exceptions as codes

from hsm.errors import DeviceError, DeviceUnavailable, KeyNotFound, PinRejected, Unsupported

Kind = type[DeviceError]

UNAVAILABLE = (
    codes.AnotherUserAlreadyLoggedIn, codes.DeviceError, codes.DeviceMemory, codes.DeviceRemoved,
    codes.ExceededMaxIterations, codes.FunctionCancelled, codes.FunctionFailed, codes.FunctionRejected,
    codes.GeneralError, codes.HostMemory, codes.KeyHandleInvalid, codes.NoEvent, codes.NoSuchToken,
    codes.ObjectHandleInvalid, codes.OperationActive, codes.OperationNotInitialized, codes.SessionClosed,
    codes.SessionCount, codes.SessionExists, codes.SessionHandleInvalid, codes.SessionReadOnly,
    codes.SessionReadOnlyExists, codes.SessionReadWriteSOExists, codes.SignatureInvalid,
    codes.SignatureLenRange, codes.SlotIDInvalid, codes.TokenNotPresent, codes.TokenNotRecognised,
    codes.UnwrappingKeyHandleInvalid, codes.UserAlreadyLoggedIn, codes.UserNotLoggedIn, codes.UserTooManyTypes,
    codes.WrappingKeyHandleInvalid, codes.PKCS11Error,
)  # fmt: skip

NOT_FOUND = (
    codes.EncryptedDataInvalid, codes.EncryptedDataLenRange, codes.NoSuchKey,
    codes.WrappedKeyInvalid, codes.WrappedKeyLenRange,
)  # fmt: skip

PIN_REJECTED = (
    codes.PinExpired, codes.PinIncorrect, codes.PinInvalid, codes.PinLenRange, codes.PinLocked,
    codes.PinTooWeak, codes.UserPinNotInitialized,
)  # fmt: skip

UNSUPPORTED = (
    codes.ArgumentsBad, codes.AttributeReadOnly, codes.AttributeSensitive, codes.AttributeTypeInvalid,
    codes.AttributeValueInvalid, codes.DataInvalid, codes.DataLenRange, codes.DomainParamsInvalid,
    codes.FunctionNotSupported, codes.KeyIndigestible, codes.KeyNeeded, codes.KeyNotNeeded,
    codes.KeyNotWrappable, codes.KeySizeRange, codes.KeyTypeInconsistent, codes.KeyUnextractable,
    codes.MechanismInvalid, codes.MechanismParamInvalid, codes.MultipleObjectsReturned,
    codes.MultipleTokensReturned, codes.PublicKeyInvalid, codes.RandomNoRNG, codes.RandomSeedNotSupported,
    codes.TemplateIncomplete, codes.TemplateInconsistent, codes.TokenWriteProtected,
    codes.UnwrappingKeySizeRange, codes.UnwrappingKeyTypeInconsistent, codes.WrappingKeySizeRange,
    codes.WrappingKeyTypeInconsistent,
)  # fmt: skip

KINDS: dict[type[codes.PKCS11Error], Kind] = {
    **dict.fromkeys(UNAVAILABLE, DeviceUnavailable),
    **dict.fromkeys(NOT_FOUND, KeyNotFound),
    **dict.fromkeys(PIN_REJECTED, PinRejected),
    **dict.fromkeys(UNSUPPORTED, Unsupported),
}

# What modules say to a wrapped key or a sealed secret that is not theirs. None of it is believed while the device
# is not well.
BLOB_REFUSED = (
    codes.ArgumentsBad, codes.AttributeValueInvalid, codes.DataInvalid, codes.DataLenRange,
    codes.EncryptedDataInvalid, codes.EncryptedDataLenRange, codes.FunctionFailed, codes.GeneralError,
    codes.KeyTypeInconsistent, codes.TemplateInconsistent, codes.WrappedKeyInvalid, codes.WrappedKeyLenRange,
)  # fmt: skip


def kind_of(error: codes.PKCS11Error) -> Kind:
    """Our kind for a module's error; what a future python-pkcs11 invents counts as DeviceUnavailable."""
    return KINDS.get(type(error), DeviceUnavailable)
