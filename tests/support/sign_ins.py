"""Signing in at the console without a browser: what it opens, what it says when it refuses, and what it counts.

    secret = signs_in(world)                            # the operator, with the right password and a fresh code
    assert is_open(world, secret)
    assert is_told(world, code="000000")[0] == "sign-in"
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from signing_service import accounts
from signing_service.db.tables import account, operator
from signing_service.errors import NotAuthorized, Unauthenticated
from tests.support.staff import PASSWORD
from tests.support.world import World

HERE = "192.0.2.7"


def signs_in(world: World, name: str = "Operator", password: str = PASSWORD, code: str | None = None,
             address: str = HERE) -> str:
    shown = world.fresh_code(world.city.operator) if code is None else code
    return world.stage.run(accounts.sign_in(world.rt, name, password, shown, address))


def is_open(world: World, secret: str) -> bool:
    try:
        world.stage.run(accounts.staff_of(world.rt, secret))
    except Unauthenticated:
        return False
    return True


def failures(world: World) -> int:
    with world.rt.db.read() as tx:
        return int(tx.execute(select(account.c.failures).where(
            account.c.owner == world.city.operator.id)).scalar_one())


def kept_password(world: World) -> str:
    """As it is kept, of the only one who has one."""
    with world.rt.db.read() as tx:
        return str(tx.execute(select(account.c.password_hash)).scalar_one())


def locked_for(world: World) -> timedelta | None:
    with world.rt.db.read() as tx:
        until = tx.execute(select(account.c.locked_until).where(
            account.c.owner == world.city.operator.id)).scalar_one()
    return None if until is None else until - world.clock()


def is_told(world: World, **wrong: str) -> tuple[str, str]:
    with pytest.raises(NotAuthorized) as refused:
        signs_in(world, **wrong)
    return refused.value.code, refused.value.message


def suspends(world: World) -> None:
    """The operator is suspended; their sessions are still there."""
    with world.city.rt.db.write() as tx:
        tx.execute(update(operator).values(state="suspended"))
