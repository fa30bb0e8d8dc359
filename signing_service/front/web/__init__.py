"""The screens: officials on their phones, auditors and operators at their desks.

Pages are made here and need no script; scripts make them quicker, never possible. Every route is a `Screen`: who
may see it stands in one table (`audience.py`), what would change something must come from our own pages
(`forgery.py`), and every refusal becomes a page that says what to do (`mistakes.py`). What a page shows comes from
the use cases; nothing here decides.
"""
