"""Licences in the words of the Hugging Face hub.

    license_metadata(["CC BY 4.0", None])      # {"license": ["cc-by-4.0", "unknown"]}
    license_metadata(["Our own terms"])        # {"license": "other", "license_name": "Our own terms"}

The hub refuses a card whose `license` is none of its identifiers. What the profile says is written as one of them where
it is one but for case and blanks; nothing is guessed: what nobody stated is `unknown`.
"""

from collections.abc import Iterable
from typing import Any

# https://huggingface.co/docs/hub/repositories-licenses
_LISTED = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib
    pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other
"""
IDENTIFIERS = frozenset(_LISTED.split())
UNKNOWN, OTHER = "unknown", "other"


def identifier(stated: str | None) -> str:
    """The hub's identifier of a licence, `other` for one that it does not know, `unknown` where none is stated."""
    if stated is None:
        return UNKNOWN
    spelled = "-".join(stated.lower().split())
    return spelled if spelled in IDENTIFIERS else OTHER


def license_metadata(stated: Iterable[str | None]) -> dict[str, Any]:
    """What the front matter of a card says of the licences of its sources."""
    all_stated = list(stated)
    found = sorted({identifier(one) for one in all_stated} or {UNKNOWN})
    names = sorted({one for one in all_stated if one is not None and identifier(one) == OTHER and one != OTHER})
    return {
        "license": found[0] if len(found) == 1 else found,
        **({"license_name": ", ".join(names)} if names else {}),
    }
