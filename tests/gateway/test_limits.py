from dataclasses import fields
from ipaddress import ip_network

from app.gateway.limits import Limits
from app.settings import Settings


def test_every_limit_is_a_setting_with_the_same_default():
    assert Limits.of(Settings()) == Limits()


def test_a_setting_that_is_changed_is_the_limit():
    numbers = [field.name for field in fields(Limits) if field.name != "trusted_proxies"]
    changed = {name: getattr(Limits(), name) + 1 for name in numbers}
    changed["resume_batch_max"] = 7
    changed["trusted_proxies"] = (ip_network("10.0.0.0/8"),)
    assert Limits.of(Settings(**changed)) == Limits(**changed)
