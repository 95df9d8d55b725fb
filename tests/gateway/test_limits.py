from dataclasses import fields

from app.gateway.limits import Limits
from app.settings import Settings


def test_every_limit_is_a_setting_with_the_same_default():
    assert Limits.of(Settings()) == Limits()


def test_a_setting_that_is_changed_is_the_limit():
    changed = {field.name: getattr(Limits(), field.name) + 1 for field in fields(Limits)}
    changed["resume_batch_max"] = 7
    assert Limits.of(Settings(**changed)) == Limits(**changed)
