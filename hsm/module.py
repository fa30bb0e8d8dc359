"""Load a PKCS#11 library so that threads are safe, and log in to a token once per process.

python-pkcs11 calls `C_Initialize(NULL)`, which says "one thread only": SoftHSM then switches its locks off, while
python-pkcs11 releases the GIL around every call. Two threads with a session each crash the process. `Library`
initialises the same shared object with CKF_OS_LOCKING_OK instead (PKCS#11 2.40, 5.4).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pkcs11
from pkcs11 import Session, Token, TokenFlag
from pkcs11._pkcs11 import lib

from hsm.errors import DeviceUnavailable, PinRejected, Unsupported
from hsm.returncodes import kind_of
from hsm.settings import DeviceSettings, TokenName

CKR_OK = 0x00
CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191
CKF_OS_LOCKING_OK = 0x02


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS (PKCS#11 2.40, 3.7): no mutex callbacks, the library uses the system's locks."""

    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


class _FunctionList(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST: all that is needed here. Some modules export nothing else by name."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.POINTER(_InitializeArguments))),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class Library(lib):
    """One PKCS#11 library in this process, initialised for threads."""

    def __init__(self, so: str, reserved: str | None) -> None:
        self.users = 0  # devices of this process that are open on it
        self.generation = 0  # how often it was initialised: sessions of an older generation are void
        self._inside = 0
        self._quiet = threading.Condition()
        self._reserved = reserved
        self._functions = _shared_functions(so)
        super().__init__(so)

    def __new__(cls, so: str, reserved: str | None) -> Library:
        return super().__new__(cls, so)  # type: ignore[call-arg]  # Cython's __cinit__ takes the path alone

    def initialize(self) -> None:
        """C_Initialize with CKF_OS_LOCKING_OK. python-pkcs11 calls this when it loads the library."""
        if self._functions is None:
            super().initialize()
        else:
            reserved = self._reserved.encode() if self._reserved else None
            arguments = _InitializeArguments(None, None, None, None, CKF_OS_LOCKING_OK, reserved)
            result = self._functions.initialize(ctypes.byref(arguments))
            if result not in (CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED):
                raise DeviceUnavailable(f"the PKCS#11 module did not initialise: CKR 0x{result:x}")
        self.generation += 1

    def finalize(self) -> None:
        """C_Finalize: every session and session object is gone. An error means that they are gone already."""
        if self._functions is None:
            with suppress(pkcs11.PKCS11Error):
                super().finalize()
        else:
            self._functions.finalize(None)

    def reinitialize(self) -> None:
        """Begin anew. Success proves nothing: some modules say OK while the device is away."""
        self.finalize()
        self.initialize()

    @contextmanager
    def used(self, generation: int) -> Iterator[None]:
        """Every call into the module happens inside this.

        Handles are small numbers that begin anew with each initialisation: one of an older generation could name
        another key. So nobody enters with an older generation, and `renew` waits until nobody is inside.
        """
        with self._quiet:
            if generation != self.generation:
                raise DeviceUnavailable("the connection to the device was renewed meanwhile")
            self._inside += 1
        try:
            yield
        finally:
            with self._quiet:
                self._inside -= 1
                self._quiet.notify_all()

    def renew(self, generation: int, patience: float) -> None:
        """Begin anew after a failure, unless another device of this process already did.

        Raises DeviceUnavailable when calls are still inside after `patience` seconds: they hang in the device,
        and to finalise under them would crash the process.
        """
        with self._quiet:
            if not self._quiet.wait_for(lambda: self._inside == 0, patience):
                raise DeviceUnavailable(f"{self._inside} calls hang in the device")
            if generation == self.generation:
                self.reinitialize()

    def leave(self) -> None:
        """The last user finalises: all sessions close and the token is logged out; never under a hanging call."""
        with self._quiet:
            self.users -= 1
            if self.users == 0 and self._inside == 0:
                self.finalize()


def _shared_functions(so: str) -> _FunctionList | None:
    """The functions that python-pkcs11 got, too; None when the module gives each caller an instance of its own.

    p11-kit's client does that. Only python-pkcs11 can initialise its instance then; as such a module passes the
    calls of all threads through one connection under a lock of its own, CKF_OS_LOCKING_OK would change nothing.
    """
    module = ctypes.CDLL(so)
    first, second = _function_list(module), _function_list(module)
    shared = ctypes.addressof(first.contents) == ctypes.addressof(second.contents)
    return first.contents if shared else None


def _function_list(module: ctypes.CDLL) -> ctypes._Pointer[_FunctionList]:
    functions = ctypes.POINTER(_FunctionList)()
    result = module.C_GetFunctionList(ctypes.byref(functions))
    if result != CKR_OK:
        raise Unsupported(f"{module._name} gave no PKCS#11 functions: CKR 0x{result:x}")
    return functions


_libraries: dict[str, Library] = {}
_loading = threading.RLock()


def acquire(settings: DeviceSettings) -> Library:
    """The library, loaded once per process; `release` it as often. Raises Unsupported when it cannot be loaded.

    SoftHSM reads SOFTHSM2_CONF when it is initialised: a process can have one.
    """
    with _loading:
        if settings.softhsm_conf is not None:
            if not settings.softhsm_conf.is_file():  # SoftHSM would only say CKR_GENERAL_ERROR
                raise Unsupported(f"there is no SoftHSM configuration at {settings.softhsm_conf}")
            os.environ["SOFTHSM2_CONF"] = str(settings.softhsm_conf)
        path = str(settings.module)
        library = _libraries.get(path) or _loaded(path, settings.reserved)
        if library.users == 0 and path in _libraries:
            library.reinitialize()
        _libraries[path] = library
        library.users += 1
        return library


def _loaded(path: str, reserved: str | None) -> Library:
    if not Path(path).is_file():
        raise Unsupported(f"there is no PKCS#11 module at {path}: install it, or correct the module's path")
    try:
        ctypes.CDLL(path).C_GetFunctionList  # noqa: B018 - asked for first, because its error says what is wrong
        return Library(path, reserved)
    except (OSError, AttributeError) as error:
        raise Unsupported(f"{path} is not a PKCS#11 module that this machine can load: {error}") from error
    except pkcs11.PKCS11Error as error:
        raise kind_of(error)(f"the PKCS#11 module {path} did not start: {error!r}") from error


def release(library: Library) -> None:
    with _loading:
        library.leave()


def tokens(library: Library) -> list[Token]:
    """All tokens that are present and initialised, in slot order."""
    return list(library.get_tokens(token_flags=TokenFlag.TOKEN_INITIALIZED))


def find_token(library: Library, wanted: TokenName) -> Token:
    """The one token with this name. Raises DeviceUnavailable when it is away, Unsupported when two fit."""
    there = tokens(library)
    found = [token for token in there if fits(token, wanted)]
    if len(found) == 1:
        return found[0]
    seen = ", ".join(repr(token.label) for token in there) or "none"
    if found:
        raise Unsupported(f"{len(found)} tokens are called {wanted}: name the serial number or the slot")
    raise DeviceUnavailable(f"no token is called {wanted}; tokens seen: {seen}")


def fits(token: Token, wanted: TokenName) -> bool:
    """Is this the token that is meant? What the name leaves out may be anything."""
    said = (
        (wanted.label, token.label),
        (wanted.serial, token.serial.decode("utf-8", "replace")),
        (wanted.slot_id, token.slot.slot_id),
        (wanted.manufacturer, token.manufacturer_id),
        (wanted.model, token.model),
    )
    return all(want is None or want == have for want, have in said)


@contextmanager
def token_lock(pin_file: Path) -> Iterator[None]:
    """One writer to the token at a time, in all processes and threads: around login and around token objects.

    Logging in rewrites SoftHSM's token file, and two at one moment fail; so do two that make or destroy token
    objects. Neither happens often.

    The lock is on the PIN file, because that is what all processes of one token share; reading it suffices.
    """
    try:
        descriptor = os.open(pin_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PinRejected(f"the PIN file {pin_file} cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


_refused: dict[Path, tuple[int, int]] = {}  # PIN files whose PIN was wrong: when they were changed, their size


class Login:
    """Logs in with the PIN from its file, and tries a PIN that was refused never again.

    Cards and some soft tokens lock after three wrong tries. A process remembers what it tried, until the file
    changes; across processes the token remembers: at its last try we leave it alone.
    """

    def __init__(self, pin_file: Path) -> None:
        self._pin_file = pin_file

    def anchor(self, token: Token) -> Session:
        """A read-write session that is logged in. Closing it logs the *whole token* out: keep it for life."""
        stat = self._pin_file.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        if _refused.get(self._pin_file) == version:
            raise PinRejected("the PIN was wrong and is not tried again; put the right one into the PIN file")
        if token.flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
            raise PinRejected("the token locks at the next wrong PIN, or has locked: log in by hand once")
        try:
            return _logged_in(token, self._pin_file.read_text("utf-8").strip())
        except pkcs11.PKCS11Error as error:
            kind = kind_of(error)
            if kind is PinRejected:
                _refused[self._pin_file] = version
            raise kind(f"login to token {token.label!r} failed: {type(error).__name__}") from error


def _logged_in(token: Token, pin: str) -> Session:
    """Login is per process, not per session: being logged in already is as good."""
    try:
        return token.open(rw=True, user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open(rw=True)
