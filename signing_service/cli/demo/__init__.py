"""The whole story on one machine, with nothing pretended: a token, a service, people, a document, and the proofs.

    place.py     a directory of its own, with a SoftHSM token, secrets, a database and the settings
    phones.py    the authenticators of the people in it: their one-time codes
    handset.py   a browser without a screen
    screens.py   what people do with it: enrol a phone, look, confirm, set a password
    town.py      what operators do before anybody can sign
    office.py    what a document system does, over HTTP
    proofs.py    what others than us say about the result: pyHanko, poppler, OpenSSL, qpdf
    steps.py     showing it as it happens
    tour.py      what to type while it runs
    story.py     the story itself
    command.py   `demo` and `demo --stay`
"""
