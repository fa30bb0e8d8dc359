"""The keys that stay. The key objects are counting stand-ins: what is asked is who is destroyed, and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pkcs11 import PKCS11Error

from hsm.residents import Name, Resident, Residents


class Key:
    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.destroyed = 0

    def destroy(self) -> None:
        self.destroyed += 1


def name(number: int) -> Name:
    return f"key-{number}", b""


class Loading:
    """Loads keys and remembers them."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __call__(self) -> Resident:
        self.keys.append(Key(len(self.keys)))
        return Resident(self.keys[-1], temporary=True)

    @property
    def destroyed(self) -> list[int]:
        return [key.handle for key in self.keys if key.destroyed]


@pytest.fixture
def load() -> Loading:
    return Loading()


@pytest.fixture
def residents() -> Residents:
    return Residents(2, threading.Lock())


def test_a_key_is_loaded_once(residents: Residents, load: Loading) -> None:
    for _ in range(3):
        with residents.held(name(1), load) as handle:
            assert handle == 0
    assert len(load.keys) == 1


def test_the_longest_unused_key_leaves_first(residents: Residents, load: Loading) -> None:
    for number in (1, 2, 1, 3):
        with residents.held(name(number), load):
            pass
    assert load.destroyed == [1], "key 2 was unused for the longest time; it was loaded second"
    assert len(residents) == 2


def test_a_key_in_use_never_leaves(residents: Residents, load: Loading) -> None:
    with residents.held(name(1), load):
        for number in (2, 3, 4):
            with residents.held(name(number), load):
                assert 0 not in load.destroyed
    assert load.keys[0].destroyed == 0
    assert len(residents) == 2


def test_a_key_forgotten_while_in_use_is_destroyed_afterwards(residents: Residents, load: Loading) -> None:
    with residents.held(name(1), load):
        residents.forget(name(1))
        assert load.destroyed == []
        with residents.held(name(1), load) as handle:
            assert handle == 1, "it is loaded anew"
    assert load.destroyed == [0]
    residents.forget(name(1))
    assert load.destroyed == [0, 1]


def test_a_key_that_failed_is_loaded_anew(residents: Residents, load: Loading) -> None:
    with pytest.raises(PKCS11Error), residents.held(name(1), load):
        raise PKCS11Error
    with residents.held(name(1), load) as handle:
        assert handle == 1
    assert load.destroyed == [0]


def test_a_token_object_is_never_destroyed(residents: Residents) -> None:
    key = Key(7)
    with residents.held(name(1), lambda: Resident(key, temporary=False)):
        pass
    residents.forget(name(1))
    assert key.destroyed == 0


def test_of_a_key_loaded_by_two_threads_at_once_one_copy_stays(residents: Residents, load: Loading) -> None:
    both = threading.Barrier(2)

    def load_slowly() -> Resident:
        loaded = load()
        both.wait(10)
        return loaded

    def use(_: int) -> int:
        with residents.held(name(1), load_slowly) as handle:
            return handle

    with ThreadPoolExecutor(2) as pool:
        handles = set(pool.map(use, range(2)))
    assert len(handles) == 1
    assert len(load.destroyed) == 1
    assert handles.isdisjoint(load.destroyed)


def test_more_keys_in_use_than_the_limit_are_let_go_when_they_are_returned(residents: Residents, load: Loading) -> None:
    with residents.held(name(1), load), residents.held(name(2), load), residents.held(name(3), load):
        assert len(residents) == 3
    assert len(residents) == 2
    assert load.destroyed == [2]


def test_nothing_is_destroyed_twice_under_load(residents: Residents, load: Loading) -> None:
    def use(number: int) -> None:
        with residents.held(name(number % 5), load) as handle:
            assert not load.keys[handle].destroyed
        if number % 7 == 0:
            residents.forget(name(number % 5))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(2000)))
    assert max(key.destroyed for key in load.keys) == 1
    assert len(load.keys) - len(load.destroyed) == len(residents) <= 2
