from typing import Any

import pytest

from models_py.errors import UserError
from models_py.export.licenses import license_metadata
from models_py.sources.spec import Source


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (["cc-by-4.0"], {"license": "cc-by-4.0"}),
        (["CC BY 4.0", "cc-by-4.0"], {"license": "cc-by-4.0"}),
        (["MIT", "Apache-2.0"], {"license": ["apache-2.0", "mit"]}),
        ([None], {"license": "unknown"}),
        ([], {"license": "unknown"}),
        (["unknown"], {"license": "unknown"}),
        (["mit", None], {"license": ["mit", "unknown"]}),
        (["Our own terms"], {"license": "other", "license_name": "Our own terms"}),
        (["other"], {"license": "other"}),
        (["b", "a", "mit", None], {"license": ["mit", "other", "unknown"], "license_name": "a, b"}),
    ],
)
def test_licences_in_the_words_of_the_hub(stated: list[str | None], told: dict[str, Any]) -> None:
    assert license_metadata(stated) == told


def test_a_source_states_its_licence_and_is_read_as_without_one() -> None:
    stated, silent = Source("mine", path="a.jsonl", license="cc-by-4.0"), Source("mine", path="a.jsonl")
    assert stated.settings == silent.settings == {}
    for wrong in ("", " ", "a\nb"):
        with pytest.raises(UserError, match=r"^sources\.mine\.license: .* is no name of a licence"):
            Source("mine", path="a.jsonl", license=wrong)
