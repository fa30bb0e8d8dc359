"""What takes half an hour is collected only where a campaign was asked for."""

from tests.support import campaign

collect_ignore = [] if campaign.FULL else ["test_every_call.py", "test_long_log.py"]
