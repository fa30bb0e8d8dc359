"""May they, and what must they prove?

A policy is a TOML file that people can read and sign off. `document.load` turns its text into a `Policy`, or
refuses with the line that is wrong; `Policy.decide` turns `Facts` into a `Decision` whose findings name every
rule and say why. Everything here is pure: no clock, no database, no network. The same facts and the same text
always give the same decision, which is why both halves of the server may decide and must agree.

Silence is a refusal: no rules, no matching block, an unlisted warning, an unknown document type are all a no.
What no policy can switch off (secrecy above all) stands in `rules.ALWAYS`.
"""
